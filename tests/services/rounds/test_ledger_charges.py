"""Participations that have ended already: the owner charges them for their tasks, and rejects updates that came in.

Covers: app.services.rounds.ledger
"""

from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.tasks import Observation, TaskRun
from app.store.leases import Fenced
from tests.planes import Adder, plane
from tests.services.courses import events, statuses
from tests.services.rounds.stored import client_of
from tests.services.rounds.test_unstorable import owning

RUN = TaskRun(attempts=2, bytes_sent=30, bytes_received=4)


async def test_a_charge_is_stored_once_and_given_with_the_round(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {name: Adder() for name in "ab"}) as running:
        lease, value = await owning(running, "ab")
        ledger = running.system.coordinator._engine._ledger
        for _ in range(2):
            charged = await ledger.charged(lease, replace(value, seed=7), {"a": RUN})
            costs = [(part.attempts, part.bytes_sent, part.bytes_received) for part in charged.participations]
            assert costs == [(2, 30, 4), (1, 0, 0)]
            assert charged.seed == 7
        stored = await running.round(value.training_id, 1)
        assert stored.participations == charged.participations


async def test_only_updates_that_are_received_can_be_rejected_and_each_is_counted_and_told_once(
    database_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, database_url, {name: Adder() for name in "ab"}) as running:
        lease, value = await owning(running, "ab")
        ledger, db = running.system.coordinator._engine._ledger, running.system.db
        came = replace(value.participations[0], status="received", num_examples=10, loss=1.0, finished_at=1.0)
        assert await ledger.settled(lease, value, came, Observation())
        assert (await client_of(db, "a")).rounds_completed == 1
        for _ in range(2):
            after = await ledger.rejected(lease, value, {"a": "it is an outlier", "b": "it is an outlier"})
            assert statuses(after) == {"a": "rejected", "b": "training"}
        a = await client_of(db, "a")
        assert (a.rounds_completed, [one.reason for one in a.breaker.last_failures]) == (0, ["it is an outlier"])
        told = [event for event in await events(running, value.training_id) if event.type == "participation.rejected"]
        assert [(event.client_id, event.data["reason"]) for event in told] == [("a", "it is an outlier")]
        counted = running.system.metrics.registry.get_sample_value
        assert counted("federated_participations_total", {"outcome": "rejected"}) == 1.0


async def test_an_owner_that_was_overtaken_charges_and_rejects_nothing(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}) as running:
        lease, value = await owning(running, "a")
        ledger = running.system.coordinator._engine._ledger
        async with running.system.db.begin() as tx:
            await tx.leases.revoke(value.training_id)
        with pytest.raises(Fenced):
            await ledger.charged(lease, value, {"a": RUN})
        with pytest.raises(Fenced):
            await ledger.rejected(lease, value, {"a": "why"})
        assert (await running.round(value.training_id, 1)).participations == value.participations
