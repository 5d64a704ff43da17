"""Waiting for a round's end: what it costs, and what ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app.domain.errors import NotFound
from app.domain.rounds import RoundStatus
from app.services.rounds.waits import RoundWaits, Stopping, TooManyWaits
from app.store.database import Database
from app.store.transaction import Transaction
from tests.clocks import FakeClock
from tests.store.samples import a_round, training


class HungUp(Exception):
    """The caller has left."""


class CountingDatabase(Database):
    """Counts its `glances`."""

    glances = 0

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[Transaction]:
        self.glances += 1
        async with super().glance() as tx:
            yield tx


@dataclass
class Bench:
    db: CountingDatabase
    clock: FakeClock
    waits: RoundWaits

    def caller(self, departure: asyncio.Event | None = None, *, number: int = 1, seconds: float = 600) -> Any:
        """A task that waits for the round until its caller hangs up."""
        left = departure or asyncio.Event()

        async def hang_up() -> None:
            await left.wait()
            raise HungUp

        return asyncio.create_task(self.waits.wait("t", number, seconds, hang_up))

    async def rests(self) -> float:
        """Return when the answer to the next question was that the wait goes on, with the length of the pause."""
        return await self.clock.next_sleep()

    async def store(self, round_status: RoundStatus, **fields: Any) -> None:
        """Write the training as another process does."""
        async with self.db.begin() as tx:
            round_ = replace(await tx.rounds.get("t", 1), status=round_status)
            await tx.rounds.put(round_)
            await tx.trainings.put(replace(await tx.trainings.get("t"), **fields))


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    db, clock = CountingDatabase(database_url), FakeClock()
    async with db.begin() as tx:
        await tx.trainings.add(training("t", status="running", stop_after=1, current_round=1))
        await tx.rounds.add(a_round())
    waits = RoundWaits(db, clock, places=3)
    yield Bench(db, clock, waits)
    await waits.close()
    await db.dispose()


async def test_callers_of_one_round_share_its_questions_which_become_rare(bench: Bench) -> None:
    callers = [bench.caller() for _ in range(50)]
    pauses = []
    for _ in range(8):
        pauses.append(await bench.rests())
        bench.clock.advance(pauses[-1])
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    await bench.rests()
    assert bench.db.glances == 9
    await bench.store("completed", status="paused", stop_after=None)
    bench.clock.advance(1.0)
    await asyncio.gather(*callers)
    assert bench.db.glances == 10


async def test_nothing_is_asked_for_callers_that_have_hung_up(bench: Bench) -> None:
    gone = asyncio.Event()
    leaving, staying = [bench.caller(gone) for _ in range(20)], bench.caller()
    await bench.rests()
    gone.set()
    assert all(isinstance(end, HungUp) for end in await asyncio.gather(*leaving, return_exceptions=True))
    bench.clock.advance(1.0)
    await bench.rests()
    assert bench.db.glances == 2  # for the one that has stayed
    staying.cancel()
    await asyncio.wait([staying])
    for _ in range(20):
        bench.clock.advance(1.0)
        await asyncio.sleep(0)
    assert bench.db.glances == 2
    bench.caller()
    await bench.rests()
    assert bench.db.glances == 3


async def test_a_round_that_this_process_ends_ends_the_wait_without_any_time(bench: Bench) -> None:
    caller = bench.caller()
    await bench.rests()
    await bench.store("completed", status="paused", stop_after=None)
    bench.waits.notice("another")
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.db.glances == 1
    bench.waits.notice("t")
    await caller


@pytest.mark.parametrize("status", ["paused", "cancelled", "failed", "completed"])
async def test_a_training_that_stops_ends_the_wait_for_its_open_round(bench: Bench, status: str) -> None:
    caller = bench.caller()
    await bench.rests()
    await bench.store("training", status=status)
    bench.clock.advance(1.0)
    await caller


async def test_a_round_has_ended_only_when_its_training_has_moved_on(bench: Bench) -> None:
    await bench.store("completed", status="running", stop_after=1)
    caller = bench.caller()
    await bench.rests()
    assert not caller.done()
    await bench.store("completed", status="running", stop_after=None)
    bench.clock.advance(1.0)
    await caller


async def test_each_caller_waits_for_its_own_time(bench: Bench) -> None:
    short, long = bench.caller(seconds=0.07), bench.caller(seconds=30)
    bench.clock.advance(await bench.rests())
    left = await bench.rests()
    assert left == pytest.approx(0.02)
    bench.clock.advance(0.02 + 1e-6)
    await short
    await bench.rests()
    assert not long.done()
    bench.clock.advance(30)
    await long


async def test_one_who_comes_while_the_database_is_asked_gets_an_answer_of_its_own(bench: Bench) -> None:
    await bench.store("training", status="paused")
    first = bench.caller()
    while not bench.db.glances:  # noqa: ASYNC110  (the question has begun in a few turns of the loop)
        await asyncio.sleep(0)
    late = bench.caller()
    await asyncio.gather(first, late)
    assert bench.db.glances == 2


async def test_what_the_database_raises_reaches_every_caller_and_the_next_one_asks_anew(bench: Bench) -> None:
    callers = [bench.caller(number=7) for _ in range(3)]
    assert all(isinstance(end, NotFound) for end in await asyncio.gather(*callers, return_exceptions=True))
    with pytest.raises(NotFound):
        await bench.caller(number=7)


async def test_a_stop_ends_the_waits_and_those_to_come(bench: Bench) -> None:
    caller = bench.caller()
    await bench.rests()
    bench.waits.stop()
    for waiting in (caller, bench.caller()):
        with pytest.raises(Stopping):
            await waiting


async def test_places_are_bounded_and_given_back(bench: Bench) -> None:
    for _ in range(2):
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(bench.waits.place("here"))
            with pytest.raises(TooManyWaits, match=r"too many calls of this caller are waiting .*: at most 3 can"):
                held.enter_context(bench.waits.place("here"))


async def test_callers_of_one_party_leave_places_for_others(bench: Bench) -> None:
    waits = RoundWaits(bench.db, bench.clock, places=256)
    with ExitStack() as held:
        for _ in range(256):
            held.enter_context(waits.place("greedy"))
        for _ in range(25):
            held.enter_context(waits.place("another"))
        with pytest.raises(TooManyWaits):
            held.enter_context(waits.place("greedy"))
