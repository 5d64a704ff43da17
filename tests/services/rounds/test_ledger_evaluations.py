"""Evaluations in the ledger: they are asked for once, stored as they end, and none is waited for after the end.

Covers: app.services.rounds.ledger
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from app.domain.rounds import Round
from app.domain.tasks import Observation, TaskRun
from app.store.leases import Fenced
from tests.services.rounds.owners import Owner, owner
from tests.services.rounds.stored import told
from tests.store.samples import NOW

EVALUATING: dict[str, Any] = {"status": "evaluating", "model": "0" * 64}
RUN = TaskRun(attempts=2, bytes_sent=30, bytes_received=4, asked_at=NOW - 9.0, started_at=NOW - 9.0)


async def asked(value: Owner) -> Round:
    round_: Round = await value.engine._ledger.asked(value.lease, value.round_, ["b", "a"])
    return round_


def statuses(round_: Round) -> dict[str, str]:
    return {one.client_id: one.status for one in round_.evaluations}


async def test_those_who_are_asked_are_stored_in_their_order_and_only_once(database_url: str, tmp_path: Path) -> None:
    async with owner(tmp_path, database_url, {"a": "received"}, **EVALUATING) as value:
        round_ = await asked(value)
        assert list(statuses(round_).items()) == [("b", "training"), ("a", "training")]
        assert (await value.stored()).evaluations == round_.evaluations
        assert (await value.stored()).participations == value.round_.participations
        with pytest.raises(IntegrityError):
            await asked(value)


async def test_an_evaluation_ends_once_and_leaves_the_update_of_its_client_alone(
    database_url: str, tmp_path: Path
) -> None:
    async with owner(tmp_path, database_url, {"a": "received"}, **EVALUATING) as value:
        ledger, round_ = value.engine._ledger, await asked(value)
        came = replace(round_.evaluations[1], status="received", num_examples=5, loss=0.5, metrics={"rmse": 0.25})
        assert await ledger.settled(value.lease, round_, came, Observation())
        assert not await ledger.settled(value.lease, round_, replace(came, loss=9.0), Observation())
        stored = await value.stored()
        assert (stored.evaluations[1], stored.participations) == (came, value.round_.participations)
        assert [(event.type, event.client_id) for event in await told(value.system.db)] == [
            ("evaluation.received", "a")
        ]
        async with value.system.db.read() as tx:
            assert (await tx.clients.get("a")).rounds_completed == 0, "it has trained before that"


async def test_those_who_have_not_answered_are_skipped_with_what_they_have_cost(
    database_url: str, tmp_path: Path
) -> None:
    async with owner(tmp_path, database_url, {"a": "received", "b": "failed"}, **EVALUATING) as value:
        ledger, round_ = value.engine._ledger, await asked(value)
        failed = replace(round_.evaluations[1], status="failed", reason="no connection to the agent")
        await ledger.settled(value.lease, round_, failed, Observation())
        for _ in range(2):
            ended = await ledger.evaluated(value.lease, round_, {"b": RUN})
            assert statuses(ended) == {"b": "skipped", "a": "failed"}
        late = ended.evaluations[0]
        assert late.reason == "it did not finish in time: the round continued without it"
        assert (late.attempts, late.bytes_sent, late.bytes_received, late.seconds) == (2, 30, 4, 9.0)
        assert (await value.stored()).status == "evaluating"
        types = [(event.type, event.client_id) for event in await told(value.system.db)]
        assert types == [("evaluation.failed", "a"), ("evaluation.skipped", "b")]
        async with value.system.db.read() as tx:
            assert (await tx.clients.get("b")).measured.reliability is None, "nothing counts against it"
        counted = value.system.metrics.registry.get_sample_value
        assert counted("federated_evaluations_total", {"outcome": "skipped"}) == 1.0


async def test_an_owner_that_was_overtaken_asks_for_nothing_and_ends_nothing(database_url: str, tmp_path: Path) -> None:
    async with owner(tmp_path, database_url, {"a": "received"}, **EVALUATING) as value:
        ledger, round_ = value.engine._ledger, await asked(value)
        lost = replace(value.lease, fence=value.lease.fence - 1)
        with pytest.raises(Fenced):
            await ledger.asked(lost, value.round_, ["c"])
        with pytest.raises(Fenced):
            await ledger.evaluated(lost, round_, {})
        assert (await value.stored()).evaluations == round_.evaluations
