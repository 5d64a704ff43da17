"""Carried tasks of a training that is paused for longer than agents keep tasks, or that has ended."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.domain.carrying import EXPIRED, TRAINING_ENDED
from app.domain.trainings import TrainingStatus
from app.services.rounds.carried_retention import CarriedRetention
from app.store.database import Database
from tests.clocks import FakeClock
from tests.planes import plane, until
from tests.services.courses import parts, statuses
from tests.services.rounds.stored import begun
from tests.services.rounds.test_carrying import carrying, four, has_forgotten, one_late
from tests.services.rounds.test_ending import Desk
from tests.services.rounds.test_open_tasks import open_tasks


async def test_a_pause_keeps_clients_busy_for_no_longer_than_their_agents_keep_the_tasks(
    database_url: str, tmp_path: Path
) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying(max_staleness=2, deadline_seconds=600.0))
        await one_late(running, clock, training_id)
        clock.advance(3 * 600.0 - 1.0)
        await running.system.housekeeper.tick()
        assert await open_tasks(running, training_id) == ["d"]
        clock.advance(2.0)
        await running.system.housekeeper.tick()
        part = parts(await running.round(training_id, 1))["d"]
        assert (part.status, part.reason) == ("skipped", EXPIRED)
        assert (await running.system.clients.get("d")).measured.reliability is None
        async with running.system.db.read() as tx:
            assert await tx.rounds.busy_clients() == frozenset()
            assert await tx.carried.resting() == []
        await until(lambda: has_forgotten(running, "d"))
        trainers["d"].open.set()
        assert statuses(await running.run_round(training_id)) == dict.fromkeys("abcd", "received")


@pytest.mark.parametrize(("status", "ends"), [("completed", True), ("cancelled", True), ("running", False)])
async def test_what_a_training_has_left_at_its_end_is_ended(db: Database, status: TrainingStatus, ends: bool) -> None:
    desk, told = Desk(db), []

    class EarlyEnds:
        async def call_off_carried(self, tasks: Mapping[str, str]) -> None:
            told.append(dict(tasks))

    early_ends: Any = EarlyEnds()
    await begun(db, {"a": "carried", "b": "received"}, training_status=status)
    await CarriedRetention(db, desk.ending, early_ends, desk.clock).tick()
    async with db.read() as tx:
        part = (await tx.rounds.get("t", 1)).participations[0]
    assert told == [{"a": "t.1.a.fit"}] * ends
    assert (part.status, part.reason) == (("skipped", TRAINING_ENDED) if ends else ("carried", None))
