"""Carried tasks of a training that is paused for longer than agents keep tasks."""

from pathlib import Path

from app.domain.carrying import EXPIRED
from tests.clocks import FakeClock
from tests.planes import plane, until
from tests.services.courses import parts, statuses
from tests.services.rounds.test_carrying import carrying, has_forgotten, one_late
from tests.services.rounds.test_open_tasks import four, open_tasks


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
