"""Strategies of other packages that fail, take long or never end: the round says so, and nothing else stops."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.domain.trainings import SelectionConfig
from app.services.fleet.connectivity import LatestConnectivity
from app.services.fleet.roster import LatestRoster
from app.services.rounds.planning import Planner, StrategyOverdue
from app.services.rounds.selections import Selections
from app.store.tables import trainings
from tcsfeel.selection.random import random
from tcsfeel.selection.types import Selection, SelectionPolicy
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, until
from tests.plugins import PLUGIN, strategy
from tests.services.fakes import metrics

ONE = SelectionConfig(strategy=PLUGIN, min_clients=1, max_clients=1)
LEASE_SECONDS = 5.0  # a machine that is busy may stand still for seconds, which costs a shorter lease
ONE_CLIENT = SelectionPolicy(min_clients=1, max_clients=1)


class Strategy:
    """Selects at random once the test lets it; `busy` keeps the interpreter busy meanwhile."""

    def __init__(self, *, busy: bool = False) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self._busy = busy

    def __call__(self, *arguments: Any) -> Selection:
        self.begun.set()
        while self._busy and not self.go_on.is_set():
            sum(range(1000))
        assert self.go_on.wait(60)
        return random(*arguments)

    async def has_begun(self) -> bool:
        return self.begun.is_set()


@contextmanager
def slow_strategy(*, busy: bool = False) -> Iterator[Strategy]:
    given = Strategy(busy=busy)
    with strategy(given):
        try:
            yield given
        finally:
            given.go_on.set()


async def a_round_by(running: Plane) -> str:
    training_id = await running.create(selection=ONE, evaluation_clients=0, round_policy=policy(deadline_seconds=60.0))
    await running.system.trainings.run_round(training_id)
    await running.drive()
    return training_id


def failing(*_: Any) -> Any:
    raise KeyError("y")


def leaving(*_: Any) -> Any:
    raise SystemExit(3)


def of_another_type(*_: Any) -> Any:
    return ["a"]


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        (failing, "KeyError: 'y'"),
        (leaving, "SystemExit: 3"),
        (of_another_type, "it returned a value of the type list, not a Selection"),
    ],
)
async def test_a_strategy_that_fails_abandons_the_round_with_its_name_and_error(
    sqlite_url: str, tmp_path: Path, given: Callable[..., Any], detail: str
) -> None:
    with strategy(given):
        async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
            round_ = await running.run_round(await running.create(selection=ONE))
            assert (round_.status, round_.failure_reason) == ("abandoned", f"the strategy 'theirs' failed: {detail}")


@pytest.mark.untraced
@pytest.mark.parametrize("busy", [False, True], ids=["blocked", "busy"])
async def test_a_selection_that_outlasts_the_lease_keeps_it(database_url: str, tmp_path: Path, busy: bool) -> None:
    short = {"enabled": False, "tick_seconds": 0.01, "lease_seconds": LEASE_SECONDS}
    with slow_strategy(busy=busy) as given:
        async with plane(tmp_path, database_url, {"a": Adder()}, coordinator=short) as running:
            training_id = await running.create(selection=ONE, max_rounds=1, evaluation_clients=0)
            await running.system.trainings.start(training_id)
            await running.drive()
            await until(given.has_begun)
            _, first = await lease(running, training_id)

            async def has_been_renewed_past_its_first_end() -> bool:
                return (await lease(running, training_id))[1] > first + LEASE_SECONDS

            await until(has_been_renewed_past_its_first_end)
            fence, _ = await lease(running, training_id)
            given.go_on.set()
            round_ = await running.ended(training_id, 1)
            assert (round_.status, fence) == ("completed", 1)


async def lease(running: Plane, training_id: str) -> tuple[int, float]:
    """The fence and the end of the training's lease."""
    async with running.system.db.read() as tx:
        query = select(trainings.c.fence, trainings.c.lease_until).where(trainings.c.id == training_id)
        fence, until_ = (await tx.trainings._connection.execute(query)).one()
    return fence, until_


async def test_a_selection_that_never_ends_is_given_up_and_stops_no_other_training(
    sqlite_url: str, tmp_path: Path
) -> None:
    clock = FakeClock()
    with slow_strategy() as given:
        async with plane(tmp_path, sqlite_url, {"a": Adder()}, clock=clock) as running:
            stuck = await a_round_by(running)
            await until(given.has_begun)
            other = await running.run_round(await running.create(evaluation_clients=0))
            assert other.status == "completed"
            clock.advance(60.0)
            value = await running.ended(stuck, 1)
            reason = "the strategy 'theirs' did not end within 60 s"
            assert (value.status, value.failure_reason) == ("abandoned", reason)

            again = await running.run_round(stuck)
            assert "is still running from an earlier round that stopped waiting for it" in str(again.failure_reason)
            given.go_on.set()

            async def selects_again() -> bool:
                return (await running.run_round(stuck)).status == "completed"

            await until(selects_again)


async def test_a_training_without_a_thread_for_its_selection_says_so(sqlite_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    with slow_strategy() as given:
        async with plane(tmp_path, sqlite_url, {"a": Adder()}, clock=clock) as running:
            plans = [
                asyncio.create_task(
                    running.system.selections.plan(PLUGIN, ONE_CLIENT, seed=1, round_number=1, exclude=())
                )
                for _ in range(40)
            ]
            await until(given.has_begun)
            training_id = await a_round_by(running)

            async def waits_for_a_thread() -> bool:
                return clock.is_slept_on(60.0)

            await until(waits_for_a_thread)
            clock.advance(60.0)
            round_ = await running.ended(training_id, 1)
            assert (
                round_.failure_reason == "the strategy 'theirs' could not start in time: other selections take too long"
            )
            given.go_on.set()
            assert {len(planned.selections) for planned in await asyncio.gather(*plans)} == {1}


async def test_a_plan_whose_strategy_does_not_end_is_given_up(sqlite_url: str, tmp_path: Path) -> None:
    with slow_strategy():
        async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
            hasty = Selections(
                running.system.db, Planner(LatestRoster(), LatestConnectivity(), FakeClock(), metrics()), patience=0.01
            )
            with pytest.raises(StrategyOverdue, match=r"the strategy 'theirs' did not end within 0\.01 s"):
                await hasty.plan(PLUGIN, ONE_CLIENT, seed=1, round_number=1, exclude=())
