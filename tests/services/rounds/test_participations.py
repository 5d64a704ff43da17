"""What single clients do to a round, and what the round holds against them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.http.answers import listed_round, round_out
from tcsfeel.agent import EvaluateResult, Parameters, Task
from tests.clocks import FakeClock
from tests.planes import Adder, plane, policy, until
from tests.services.courses import has_received, has_started, parts, statuses


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ({"w": np.array([1.0, math.nan, 1.0], np.float32)}, "not finite"),
        ({"w": np.zeros(4, np.float32)}, "float32[4]"),
        ({"v": np.zeros(3, np.float32)}, "missing ['w']"),
        ({"w": np.zeros(3, np.float32), "extra": np.zeros(1, np.float32)}, "unknown ['extra']"),
    ],
)
async def test_a_bad_update_is_rejected_and_touches_nothing(
    sqlite_url: str, tmp_path: Path, returned: dict[str, np.ndarray], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = {"good": Adder(2.0), "bad": Adder()}
    trainers["bad"].returns = returned
    _let_agents_send_anything(monkeypatch)
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(round_policy=policy(quorum=0.5))
        round_ = await running.run_round(training_id)

        assert statuses(round_) == {"good": "received", "bad": "rejected"}
        assert reason in str(parts(round_)["bad"].reason)
        assert await running.weight(training_id) == 2.0
        assert (await running.system.breakers.get("bad")).outcomes == ("failed", "ok")  # it evaluated well


async def test_an_implausible_number_of_examples_is_rejected(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"good": Adder(2.0), "boaster": Adder(100.0)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        trainers["boaster"].examples = 10 * 10 + 1
        round_ = await running.run_round(await running.create(round_policy=policy(quorum=0.5)))
        assert statuses(round_) == {"good": "received", "boaster": "rejected"}


async def test_a_trainer_that_raises_is_tried_again_and_then_fails(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder() for name in "abcde"}
    trainers["a"].problem = RuntimeError("disk on fire")
    async with plane(tmp_path, sqlite_url, trainers) as running:
        round_ = await running.run_round(await running.create(round_policy=policy(quorum=0.8)))

        part = parts(round_)["a"]
        assert (part.status, part.attempts) == ("failed", 2)  # five first tries allow one retry
        assert "disk on fire" in str(part.reason)
        client = await running.system.clients.get("a")
        assert client.breaker.outcomes == ("failed", "failed", "ok")  # it evaluated well
        assert client.measured.reliability == pytest.approx(0.63)
        assert (client.rounds_selected, client.rounds_completed) == (1, 0)


async def test_a_mistake_in_a_trainer_is_not_tried_again_and_is_told_in_words(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder() for name in "abc"}
    trainers["a"].fit = lambda _parameters, _task: (1, 2)  # type: ignore[method-assign,assignment,return-value]  # broken
    async with plane(tmp_path, sqlite_url, trainers) as running:
        round_ = await running.run_round(await running.create(round_policy=policy(quorum=0.5)))
        part = parts(round_)["a"]
        assert (part.status, part.attempts) == ("failed", 1)
        assert part.reason == "its trainer failed: fit must return a FitResult, not tuple"
        assert part.traceback is None


async def test_an_exception_in_a_trainer_is_told_in_one_line_and_shown_in_full_where_one_round_is_read(
    database_url: str, tmp_path: Path
) -> None:
    trainers = {name: Adder() for name in "abc"}
    trainers["a"].problem = KeyError("layer.weight")
    async with plane(tmp_path, database_url, trainers) as running:
        round_ = await running.run_round(await running.create(round_policy=policy(quorum=0.5)))
        part = parts(round_)["a"]
        assert (part.status, part.attempts) == ("failed", 1)
        assert str(part.reason).startswith("its trainer failed: KeyError: 'layer.weight' (planes.py:")
        lines = str(part.traceback).splitlines()
        assert lines[-2:] == ["    raise self.problem", "KeyError: 'layer.weight'"]
        assert lines[-3].startswith("  planes.py:")
        shown, listed = round_out(round_), listed_round(round_)
        assert [one.traceback for one in shown.participations if one.client_id == "a"] == [part.traceback]
        assert {one.traceback for one in listed.participations} == {None}


async def test_stragglers_are_waited_for_only_for_the_grace_period(sqlite_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    trainers = {name: Adder(1.0) for name in "abcd"}
    trainers["d"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers, clock=clock) as running:
        rules = policy(quorum=0.75, grace_seconds=5.0, deadline_seconds=600.0)
        training_id = await running.create(round_policy=rules, evaluation_clients=0)
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 3))
        await until(lambda: has_started(trainers["d"]))
        clock.advance(4.9)
        assert (await running.round(training_id, 1)).status == "training"
        clock.advance(0.2)
        round_ = await running.ended(training_id, 1)

        assert statuses(round_) == {"a": "received", "b": "received", "c": "received", "d": "skipped"}
        late = parts(round_)["d"]
        assert late.reason == "it did not finish in time: the round continued without it"
        assert late.bytes_sent > 0
        client = await running.system.clients.get("d")
        assert client.breaker.consecutive_failures == 0  # we called it off
        assert client.measured.reliability == pytest.approx(0.63)  # but it was late


async def test_below_the_quorum_at_the_deadline_the_round_is_abandoned(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    trainers = {"a": Adder(), "b": Adder()}
    trainers["b"].open.clear()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(round_policy=policy(quorum=1.0, deadline_seconds=100.0))
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 1))
        clock.advance(100.0)
        round_ = await running.ended(training_id, 1)

        assert (round_.status, round_.failure_reason) == (
            "abandoned",
            "1 of 2 updates came in, the quorum is 2; b: it has not answered",
        )
        assert statuses(round_) == {"a": "received", "b": "skipped"}
        assert await running.weight(training_id) == 0.0


async def test_with_over_selection_the_goal_count_is_enough(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder(1.0) for name in "abc"}
    trainers["c"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers, clock=FakeClock()) as running:
        # two are wanted, 2 * 1.5 = 3 are selected
        rules = policy(over_selection=1.5, quorum=0.1)
        training_id = await running.create(clients=2, round_policy=rules, evaluation_clients=0)
        await running.system.trainings.run_round(training_id)
        await running.drive()
        round_ = await running.ended(training_id, 1)
        assert statuses(round_) == {"a": "received", "b": "received", "c": "skipped"}
        assert (await running.system.clients.get("c")).measured.reliability is None  # nobody had to wait for it


async def test_a_client_that_is_removed_in_the_middle_leaves_its_history(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(3.0)}
    trainers["a"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 1))
        await running.system.clients.remove("a")
        trainers["a"].open.set()
        round_ = await running.ended(training_id, 1)
        assert statuses(round_) == {"a": "received", "b": "received"}
        assert await running.weight(training_id) == 2.0


async def test_a_client_with_a_task_in_flight_is_busy_for_other_trainings(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(), "b": Adder()}
    trainers["a"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        first = await running.create()
        await running.system.trainings.run_round(first)
        await running.drive()
        await until(lambda: has_received(running, first, 1))
        round_ = await running.run_round(await running.create(clients=1))
        assert round_.selected_clients == ("b",)


async def test_an_evaluation_that_speaks_for_too_many_examples_does_not_count(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"honest": Adder(1.0), "liar": Adder(1.0)}

    def boast(parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters, task
        return EvaluateResult(10**15, 0.0, 1.0)

    trainers["liar"].evaluate = boast  # type: ignore[method-assign]  # one agent lies
    async with plane(tmp_path, sqlite_url, trainers) as running:
        round_ = await running.run_round(await running.create())
        assert round_.average_accuracy == pytest.approx(0.1)  # what the honest one says of w = 1


async def test_agents_forget_rejected_updates(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"good": Adder(2.0), "boaster": Adder(1.0)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        trainers["boaster"].examples = 10**6
        await running.run_round(await running.create(round_policy=policy(quorum=0.5), evaluation_clients=0))
        await running.system.participants.drain()
        assert [len(agent.table) for agent in running.host.agents.values()] == [0, 0]


async def test_an_update_makes_a_suspect_client_healthy(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(), "b": Adder()}
    trainers["a"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 1))
        async with running.system.db.begin() as tx:
            await tx.clients.put(replace(await tx.clients.get("a"), status="suspect"))
        trainers["a"].open.set()
        await running.ended(training_id, 1)
        assert (await running.system.clients.get("a")).status == "healthy"


def _let_agents_send_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK refuses to send what the control plane would reject; a hostile agent does not."""
    monkeypatch.setattr("tcsfeel.agent.results._as_received", lambda returned, _received: returned)
