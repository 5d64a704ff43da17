"""How evaluations end, and that the round, the events and the metrics say so."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain.eligibility import Where
from app.domain.rounds import Participation, Round
from tcsfeel.agent import AgentHost, EvaluateResult, Parameters, Task
from tcsfeel.wire.codec import pack
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, until


class Overruled(AgentHost):
    """A host that answers the evaluate tasks of one agent itself, with what the test sets."""

    def __init__(self, client_id: str, status: int = 200, result: str = "", detail: str = "") -> None:
        super().__init__()
        body = b"".join(pack({}).payload({"result": result})) if status == 200 else detail.encode()
        self._answer = Response(body, status)
        self._path = f"{AgentHost.path(client_id)}/tasks/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        mine = path.startswith(self._path) and path.endswith(".evaluate") and scope["method"] != "DELETE"
        await (self._answer if mine else super().__call__)(scope, receive, send)


def evaluations(round_: Round) -> dict[str, Participation]:
    return {one.client_id: one for one in round_.evaluations}


def hosted(host: AgentHost, trainers: dict[str, Adder]) -> AgentHost:
    for client_id, trainer in trainers.items():
        host.add(client_id, trainer, token=f"token-of-{client_id}")
    return host


async def told(running: Plane, kind: str) -> list[tuple[str | None, int | None, Any]]:
    async with running.system.db.read() as tx:
        events = (await tx.events.after(0, limit=1000)).items
    return [(event.client_id, event.round, event.data["reason"]) for event in events if event.type == kind]


def counted(running: Plane, outcome: str) -> float:
    value = running.system.metrics.registry.get_sample_value("federated_evaluations_total", {"outcome": outcome})
    return value or 0.0


async def test_a_round_names_who_evaluated_it_with_what(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0, examples=10, loss=0.5), "b": Adder(1.0, examples=30, loss=0.25)}
    async with plane(tmp_path, database_url, trainers) as running:
        round_ = await running.run_round(await running.create())
        shown = evaluations(round_)
        assert {name: (one.status, one.reason, one.attempts) for name, one in shown.items()} == {
            "a": ("received", None, 1),
            "b": ("received", None, 1),
        }
        b = shown["b"]
        assert (b.num_examples, b.loss) == (30, 0.25)
        assert b.accuracy == pytest.approx(0.1)
        assert b.seconds is not None
        assert b.bytes_sent > 0
        assert b.bytes_received > 0
        parts = sum(part.bytes_sent + part.bytes_received for part in round_.participations)
        assert round_.communication_bytes == parts + sum(one.bytes_sent + one.bytes_received for one in shown.values())
        assert sorted(await told(running, "evaluation.received")) == [("a", 1, None), ("b", 1, None)]
        assert counted(running, "received") == 2


async def test_a_client_without_held_out_data_is_not_at_fault_and_not_asked_again(
    database_url: str, tmp_path: Path
) -> None:
    """The fault: three such answers opened its breaker, and the third round found only two clients of three."""
    trainers = {name: Adder(1.0) for name in "abc"}

    def nothing(parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters
        trainers["c"].evaluated[task.id] += 1
        return EvaluateResult(0, float("nan"), float("nan"))

    trainers["c"].evaluate = nothing  # type: ignore[method-assign]  # one agent trains on all its data
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        rounds = [await running.run_round(training_id) for _ in range(4)]

        assert [round_.status for round_ in rounds] == ["completed"] * 4
        first = evaluations(rounds[0])["c"]
        assert (first.status, first.reason, first.num_examples) == ("skipped", "it has no held-out examples", 0)
        assert rounds[0].average_accuracy == pytest.approx(0.1)  # of those that measured
        assert [sorted(evaluations(round_)) for round_ in rounds[1:]] == [["a", "b"]] * 3
        assert sum(trainers["c"].evaluated.values()) == 1
        client = await running.system.clients.get("c")
        assert (client.breaker.state, client.breaker.consecutive_failures) == ("closed", 0)
        assert client.measured.no_held_out_data_at is not None
        assert client.measured.reliability == (await running.system.clients.get("a")).measured.reliability
        assert await told(running, "evaluation.skipped") == [("c", 1, "it has no held-out examples")]
        assert counted(running, "skipped") == 1

        await running.system.clients.put("c", client.profile)  # its agent starts again, with other data perhaps
        assert "c" in evaluations(await running.run_round(training_id))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"num_examples": 10, "loss": float("nan"), "accuracy": 0.5}, "result.loss should be a finite number"),
        ({"num_examples": -1, "loss": 0.5, "accuracy": 0.5}, "result.num_examples should be greater than"),
        ({"num_examples": 10**9, "loss": 0.5, "accuracy": 1.0}, "num_examples is not plausible"),
    ],
)
async def test_a_measurement_that_cannot_be_is_rejected_with_its_reason(
    sqlite_url: str, tmp_path: Path, result: dict[str, Any], reason: str
) -> None:
    trainers = {"good": Adder(1.0), "bad": Adder(1.0)}
    host = hosted(Overruled("bad", result=json.dumps(result)), trainers)
    async with plane(tmp_path, sqlite_url, trainers, host=host) as running:
        round_ = await running.run_round(await running.create())
        bad = evaluations(round_)["bad"]
        assert bad.status == "rejected"
        assert reason in str(bad.reason)
        assert (bad.num_examples, bad.loss, bad.accuracy) == (None, None, None)
        assert round_.average_accuracy == pytest.approx(0.1)  # the good one's
        client = await running.system.clients.get("bad")
        failure = client.failures.last_faulty
        assert failure is not None
        assert (failure.phase, failure.round, failure.reason) == ("evaluate", 1, bad.reason)
        assert client.breaker.last_failures == (), "it goes on training"
        assert await told(running, "evaluation.rejected") == [("bad", 1, bad.reason)]
    host.close()


async def test_an_evaluation_that_fails_names_its_reason(database_url: str, tmp_path: Path) -> None:
    trainers = {"good": Adder(1.0), "bad": Adder(1.0)}
    host = hosted(Overruled("bad", status=500, detail="no test data found"), trainers)
    async with plane(tmp_path, database_url, trainers, host=host) as running:
        round_ = await running.run_round(await running.create())
        bad = evaluations(round_)["bad"]
        assert (bad.status, bad.reason) == ("failed", "its trainer failed: no test data found")
        assert bad.attempts == 2  # two tasks allow one retry
        failures = (await running.system.clients.get("bad")).failures
        assert (failures.faulty, failures.wrong_evaluations) == (2, 1)
        assert await told(running, "evaluation.failed") == [("bad", 1, bad.reason)]
    host.close()


async def test_an_evaluation_that_was_not_waited_for_is_skipped(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    trainers = {"quick": Adder(1.0), "slow": Adder(1.0)}

    def hang(parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters
        trainers["slow"].evaluated[task.id] += 1
        trainers["slow"].open.wait(20)
        return EvaluateResult(10, 0.0, 1.0)

    trainers["slow"].evaluate = hang  # type: ignore[method-assign]  # one agent takes too long
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(round_policy=policy(deadline_seconds=100.0))
        await running.system.trainings.run_round(training_id)

        async def is_measured() -> bool:
            return bool(trainers["slow"].evaluated)

        trainers["slow"].open.clear()
        trainers["slow"].fit = trainers["quick"].fit  # type: ignore[method-assign]  # which trains at once
        await running.drive()
        await until(is_measured)
        clock.advance(100.0)
        round_ = await running.ended(training_id, 1)
        late = evaluations(round_)["slow"]
        assert (late.status, late.reason) == ("skipped", "it did not finish in time: the round continued without it")
        assert (late.attempts, late.seconds) == (1, 100.0)
        assert ("slow", 1, late.reason) in await told(running, "evaluation.skipped")
        assert (await running.system.breakers.get("slow")).last_failures == ()


async def test_only_clients_with_the_tags_evaluate(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder(1.0) for name in "abc"}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        await running.system.clients.change("b", {"tags": {"trusted": "yes"}})
        round_ = await running.run_round(await running.create(evaluation_tags={"trusted": "yes"}))
        assert sorted(evaluations(round_)) == ["b"]
        assert len(round_.participations) == 3


async def test_the_conditions_for_training_do_not_choose_the_evaluators(sqlite_url: str, tmp_path: Path) -> None:
    where = Where(tags={"site": "north"}, clients=("a", "b"), exclude=("b",), min_data_size=1)
    async with plane(tmp_path, sqlite_url, {name: Adder(1.0) for name in "abc"}) as running:
        for client_id, tags in {"a": {"site": "north"}, "b": {"site": "north", "trusted": "yes"}}.items():
            await running.system.clients.change(client_id, {"tags": tags})
        round_ = await running.run_round(await running.create(clients=1, where=where))
        assert [part.client_id for part in round_.participations] == ["a"]
        assert sorted(evaluations(round_)) == ["a", "b", "c"]
        apart = await running.create(clients=1, where=where, evaluation_tags={"trusted": "yes"})
        round_ = await running.run_round(apart)
        assert [part.client_id for part in round_.participations] == ["a"]
        assert sorted(evaluations(round_)) == ["b"]
