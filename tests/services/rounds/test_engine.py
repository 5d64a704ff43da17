"""A round from its order to its end, over the product's own path: database, files, dispatch, agents."""

import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.agent import EvaluateResult, Parameters, Task
from app.domain.breaker import Breaker
from app.domain.errors import StateForbids
from app.domain.rounds import Round
from app.domain.trainings import Aggregation, SelectionConfig
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, until


def statuses(value: Round) -> dict[str, str]:
    return {part.client_id: part.status for part in value.participations}


async def test_a_round_averages_the_updates_by_their_examples(database_url: str, tmp_path: Path) -> None:
    # (10 * 1 + 30 * 5) / 40 = 4
    trainers = {"a": Adder(1.0, examples=10), "b": Adder(5.0, examples=30)}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        value = await running.run_round(training_id)

        assert value.status == "completed"
        assert statuses(value) == {"a": "received", "b": "received"}
        assert await running.weight(training_id, 0) == 0.0
        assert await running.weight(training_id, 1) == 4.0
        assert value.average_accuracy == pytest.approx(0.4)  # what `evaluate` says of w = 4
        training = await running.system.trainings.get(training_id)
        assert (training.status, training.accuracy, training.model) == ("paused", value.average_accuracy, value.model)


async def test_the_next_round_starts_from_the_model_of_the_last(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0)}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        for _ in range(3):
            await running.run_round(training_id)

        assert trainers["a"].received == [0.0, 1.0, 2.0]
        models = [(await running.system.models.get(training_id, number)).version for number in range(4)]
        assert [model.parent for model in models] == [None, *(model.sha256 for model in models[:3])]


async def test_a_training_runs_to_its_target(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder(1.0)}) as running:
        training_id = await running.create(target_accuracy=0.45, max_rounds=50)  # reached at w = 5
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _has_status(running, training_id, "completed"))

        training = await running.system.trainings.get(training_id)
        assert (training.stop_reason, training.current_round) == ("target_accuracy", 5)
        assert training.best_accuracy == pytest.approx(0.5)


async def test_a_training_ends_at_its_round_limit(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(0.0)}) as running:
        training_id = await running.create(max_rounds=2)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _has_status(running, training_id, "completed"))

        training = await running.system.trainings.get(training_id)
        assert (training.stop_reason, training.current_round) == ("max_rounds", 2)


async def test_weighted_counts_examples_times_accuracy(sqlite_url: str, tmp_path: Path) -> None:
    # weights 10 * 0.2 = 2 and 10 * 0.8 = 8: (2 * 1 + 8 * 6) / 10 = 5
    trainers = {"a": Adder(1.0, accuracy=0.2), "b": Adder(6.0, accuracy=0.8)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(aggregation="weighted")
        await running.run_round(training_id)
        assert await running.weight(training_id) == 5.0


async def test_server_momentum_adds_to_each_step_a_share_of_the_last(sqlite_url: str, tmp_path: Path) -> None:
    # every mean is one ahead of the model. Step 1: 0.5 * 1 = 0.5. Step 2: 0.5 * 1 + 0.8 * 0.5 = 0.9, so 1.4
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        settings = {"server_learning_rate": 0.5, "server_momentum": 0.8}
        training_id = await running.create(aggregation="fedavgm", hyperparameters=settings)
        await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(0.5)
        await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        # v = 0.99 * 1e-6 + 0.01 * 1; m = 0.1 * 1: 0.1 * 0.1 / (sqrt(v) + 0.001) = 0.099005
        # v = 0.99 * v + 0.01 * 1; m = 0.9 * 0.1 + 0.1 * 1: 0.1 * 0.19 / (sqrt(v) + 0.001) more
        ("fedadam", 0.099005, 0.232731),
        # 1e-6 + 0.01 - ..., the sign turns while v < 1: v = 0.010001, then 0.020001
        ("fedyogi", 0.099005, 0.232411),
        # m = 1 each time; v = 1.000001, then 2.000001
        ("fedadagrad", 0.0999, 0.170561),
    ],
)
async def test_adaptive_server_optimisers_remember_from_round_to_round(
    sqlite_url: str, tmp_path: Path, rule: Aggregation, first: float, second: float
) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        training_id = await running.create(aggregation=rule)
        await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(first, abs=2e-5)
        await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(second, abs=2e-5)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [("median", 3.0), ("trimmed_mean", 3.0), ("krum", 2.0), ("multi_krum", 2.5), ("geometric_median", 3.0)],
)
async def test_robust_rules_do_not_follow_the_one_that_runs_away(
    sqlite_url: str, tmp_path: Path, rule: Aggregation, wanted: float
) -> None:
    # trimmed: (2 + 3 + 4) / 3; krum: 2 and 3 have two neighbours at 1 each, 2 is the first of them
    trainers = {name: Adder(step) for name, step in zip("abcde", (1e30, 2.0, 3.0, 1.0, 4.0), strict=True)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(aggregation=rule)
        await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(wanted, abs=1e-2)


async def test_krum_without_enough_updates_abandons_the_round_and_says_so(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder() for name in "abcde"}
    trainers["e"].problem = RuntimeError("no power")
    async with plane(tmp_path, sqlite_url, trainers) as running:
        value = await running.run_round(await running.create(aggregation="krum", round_policy=policy(quorum=0.6)))
        reason = "krum against f = 1 hostile updates needs at least 2f + 3 = 5, there are 4"
        assert (value.status, value.failure_reason) == ("abandoned", reason)


async def test_updates_are_shortened_to_the_norm_that_is_allowed(sqlite_url: str, tmp_path: Path) -> None:
    # (3, 3, 3) is 5.196 long, of which 1.732 are left: 1 in each direction. (1 + 0.5) / 2
    async with plane(tmp_path, sqlite_url, {"a": Adder(3.0), "b": Adder(0.5)}) as running:
        training_id = await running.create(hyperparameters={"server_clip_norm": math.sqrt(3.0)})
        await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(0.75, abs=1e-6)


async def test_hyperparameters_reach_the_trainer(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder()}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        given = {"local_epochs": 3, "proximal_mu": 0.25, "my_own": "x"}
        await running.run_round(await running.create(aggregation="fedprox", hyperparameters=given))
        assert trainers["a"].hyperparameters == given


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
        value = await running.run_round(training_id)

        assert statuses(value) == {"good": "received", "bad": "rejected"}
        assert reason in str(next(part for part in value.participations if part.client_id == "bad").reason)
        assert await running.weight(training_id) == 2.0
        assert (await running.system.breakers.get("bad")).outcomes == ("failed", "ok")  # it evaluated well


async def test_an_implausible_number_of_examples_is_rejected(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"good": Adder(2.0), "boaster": Adder(100.0)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        trainers["boaster"].examples = 10 * 10 + 1
        value = await running.run_round(await running.create(round_policy=policy(quorum=0.5)))
        assert statuses(value) == {"good": "received", "boaster": "rejected"}


async def test_updates_without_weight_abandon_the_round_and_the_model_stays(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0, accuracy=0.0), "b": Adder(1.0, accuracy=0.0)}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(aggregation="weighted")
        value = await running.run_round(training_id)

        assert (value.status, value.failure_reason) == ("abandoned", "the updates' weights add up to zero")
        assert await running.weight(training_id) == 0.0
        training = await running.system.trainings.get(training_id)
        assert (training.status, training.failed_in_row) == ("paused", 1)


async def test_a_trainer_that_raises_is_tried_again_and_then_fails(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder() for name in "abcde"}
    trainers["a"].problem = RuntimeError("disk on fire")
    async with plane(tmp_path, sqlite_url, trainers) as running:
        value = await running.run_round(await running.create(round_policy=policy(quorum=0.8)))

        part = next(part for part in value.participations if part.client_id == "a")
        assert (part.status, part.attempts) == ("failed", 2)  # five first tries allow one retry
        assert "disk on fire" in str(part.reason)
        client = await running.system.clients.get("a")
        assert client.breaker.outcomes == ("failed", "failed", "ok")  # it evaluated well
        assert client.measured.reliability == pytest.approx(0.63)
        assert (client.rounds_selected, client.rounds_completed) == (1, 0)


async def test_what_happened_is_measured(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(loss=0.5)}) as running:
        value = await running.run_round(await running.create())

        client = await running.system.clients.get("a")
        assert client.measured.reliability == pytest.approx(0.93)
        assert client.measured.last_update_quality == pytest.approx(math.exp(-0.5))
        assert (client.rounds_selected, client.rounds_completed) == (1, 1)
        (part,) = value.participations
        fit_bytes = part.bytes_sent + part.bytes_received
        assert part.bytes_sent > 12  # three float32 and a header
        assert part.bytes_received > 12
        assert value.communication_bytes > fit_bytes  # the evaluation's too
        assert value.fairness == 1.0


async def test_stragglers_are_waited_for_only_for_the_grace_period(sqlite_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    trainers = {name: Adder(1.0) for name in "abcd"}
    trainers["d"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers, clock=clock) as running:
        rules = policy(quorum=0.75, grace_seconds=5.0, deadline_seconds=600.0)
        training_id = await running.create(round_policy=rules, evaluation_clients=0)
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: _received(running, training_id, 3))
        await until(lambda: _has_started(trainers["d"]))
        clock.advance(4.9)
        assert (await running.round(training_id, 1)).status == "training"
        clock.advance(0.2)
        value = await running.ended(training_id, 1)

        assert statuses(value) == {"a": "received", "b": "received", "c": "received", "d": "skipped"}
        late = next(part for part in value.participations if part.client_id == "d")
        assert late.reason == "late: the round went on without it"
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
        await until(lambda: _received(running, training_id, 1))
        clock.advance(100.0)
        value = await running.ended(training_id, 1)

        assert (value.status, value.failure_reason) == ("abandoned", "fewer updates than the quorum came in")
        assert statuses(value) == {"a": "received", "b": "skipped"}
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
        value = await running.ended(training_id, 1)
        assert statuses(value) == {"a": "received", "b": "received", "c": "skipped"}
        assert (await running.system.clients.get("c")).measured.reliability is None  # nobody had to wait for it


async def test_too_few_clients_abandon_the_round_and_say_so(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        value = await running.run_round(await running.create(clients=2))
        assert value.status == "abandoned"
        assert value.failure_reason == ("1 of 1 clients can be selected (healthy, admitted and free), min_clients is 2")


async def test_failed_rounds_in_a_row_end_a_training(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, database_url, {"a": Adder()}, clock=clock) as running:
        training_id = await running.create(clients=2, round_policy=policy(max_failed_rounds=2))
        await running.system.trainings.start(training_id)
        await running.drive()
        await running.ended(training_id, 1)
        clock.advance(0.9)
        assert (await running.system.trainings.get(training_id)).current_round == 1  # one second of pause
        clock.advance(0.2)
        await until(lambda: _has_status(running, training_id, "failed"))
        training = await running.system.trainings.get(training_id)
        assert training.stop_reason == "too_many_failed_rounds"
        assert "min_clients is 2" in str(training.stop_detail)


async def test_a_client_that_is_removed_in_the_middle_leaves_its_history(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(3.0)}
    trainers["a"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: _received(running, training_id, 1))
        await running.system.clients.remove("a")
        trainers["a"].open.set()
        value = await running.ended(training_id, 1)
        assert statuses(value) == {"a": "received", "b": "received"}
        assert await running.weight(training_id) == 2.0


async def test_without_evaluating_clients_nothing_is_measured(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        value = await running.run_round(await running.create(evaluation_clients=0))
        assert (value.status, value.average_accuracy) == ("completed", None)


async def test_a_client_with_a_task_in_flight_is_busy_for_other_trainings(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(), "b": Adder()}
    trainers["a"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        first = await running.create()
        await running.system.trainings.run_round(first)
        await running.drive()
        await until(lambda: _received(running, first, 1))
        value = await running.run_round(await running.create(clients=1))
        assert value.selected_clients == ("b",)


async def test_an_agent_without_model_is_passed_over_for_the_next(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(), "b": Adder()}

    def broken() -> None:
        raise RuntimeError("no model here")

    trainers["a"].initial_parameters = broken  # type: ignore[method-assign,assignment]  # one agent is broken
    async with plane(tmp_path, sqlite_url, trainers) as running:
        value = await running.run_round(await running.create())
        assert value.status == "completed"


async def test_who_is_asked_for_a_model_while_its_breaker_is_open_is_probed(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        async with running.system.db.begin() as tx:
            client = await tx.clients.get("a")
            await tx.clients.put(replace(client, breaker=Breaker(state="open", retry_at=1.0, openings=1)))
        value = await running.run_round(await running.create())
        assert value.status == "completed"
        async with running.system.db.read() as tx:
            told = [event.type for event in await tx.events.after(0, training_id=None, limit=100)]
    about = [kind for kind in told if kind.startswith(("breaker.", "training.model", "round.planned"))]
    assert about == ["breaker.half_open", "breaker.closed", "training.model_fetched", "round.planned"]


async def test_a_round_by_hand_is_refused_while_the_training_runs(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        training_id = await running.create()
        await running.system.trainings.start(training_id)
        with pytest.raises(StateForbids, match="cannot run one round of a training that is running"):
            await running.system.trainings.run_round(training_id)


async def test_an_evaluation_that_speaks_for_too_many_examples_does_not_count(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"honest": Adder(1.0), "liar": Adder(1.0)}

    def boast(parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters, task
        return EvaluateResult(10**15, 0.0, 1.0)

    trainers["liar"].evaluate = boast  # type: ignore[method-assign]  # one agent lies
    async with plane(tmp_path, sqlite_url, trainers) as running:
        value = await running.run_round(await running.create())
        assert value.average_accuracy == pytest.approx(0.1)  # what the honest one says of w = 1


async def test_agents_forget_rejected_updates(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"good": Adder(2.0), "boaster": Adder(1.0)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        trainers["boaster"].examples = 10**6
        await running.run_round(await running.create(round_policy=policy(quorum=0.5), evaluation_clients=0))
        await running.system.participants.drain()
        assert [len(agent.table) for agent in running.host.agents.values()] == [0, 0]


async def test_a_round_begun_after_a_pause_has_its_own_time_and_no_more(sqlite_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, sqlite_url, {"a": Adder()}, clock=clock) as running:
        training_id = await running.create(round_policy=policy(deadline_seconds=60.0), evaluation_clients=0)
        await running.run_round(training_id)
        clock.advance(3600.0)  # the training is paused
        value = await running.run_round(training_id)
        assert value.deadline_at - value.started_at == 60.0


async def test_starting_a_training_past_its_last_round_completes_it(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(0.0)}) as running:
        training_id = await running.create(max_rounds=1)
        await running.run_round(training_id)
        training = await running.system.trainings.start(training_id)
        assert (training.status, training.stop_reason, training.current_round) == ("completed", "max_rounds", 1)


async def test_what_happens_is_in_the_log_of_events(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(10.0), "b": Adder(10.0)}
    trainers["b"].open.clear()
    async with plane(tmp_path, database_url, trainers) as running:
        rules = policy(quorum=0.5, grace_seconds=0.0)
        training_id = await running.create(round_policy=rules)
        await running.run_round(training_id)
        async with running.system.db.read() as tx:
            events = [event.type for event in await tx.events.after(0, training_id=training_id, limit=100)]
        assert events == [
            "training.created",
            "training.running",
            "round.started",
            "training.model_fetched",
            "round.planned",
            "participation.received",
            "participation.skipped",
            "round.aggregated",
            "round.completed",
            "training.completed",
        ]


async def test_an_update_makes_a_suspect_client_healthy(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(), "b": Adder()}
    trainers["a"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: _received(running, training_id, 1))
        async with running.system.db.begin() as tx:
            await tx.clients.put(replace(await tx.clients.get("a"), status="suspect"))
        trainers["a"].open.set()
        await running.ended(training_id, 1)
        assert (await running.system.clients.get("a")).status == "healthy"


async def test_an_agent_that_hangs_cannot_hold_a_round_past_its_deadline(sqlite_url: str, tmp_path: Path) -> None:
    hung = threading.Event()

    class Hanging(Adder):
        def initial_parameters(self) -> Parameters:
            hung.wait(20)
            return super().initial_parameters()

    async with plane(tmp_path, sqlite_url, {"a": Hanging()}) as running:
        training_id = await running.create(round_policy=policy(deadline_seconds=1.0))
        value = await running.run_round(training_id)
        hung.set()
        assert (value.status, value.failure_reason) == (
            "abandoned",
            "no initial model: client 'a': did not answer in time",
        )
        assert value.ended_at is not None
        assert value.ended_at < value.deadline_at + 10, "it did not wait for the agent"


async def test_an_initial_model_that_is_not_finite_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    class Broken(Adder):
        def initial_parameters(self) -> Parameters:
            return {"w": np.array([np.nan], np.float32)}

    async with plane(tmp_path, sqlite_url, {"a": Broken()}) as running:
        value = await running.run_round(await running.create())
        assert value.status == "abandoned"
        assert "tensor 'w' holds values that are not finite" in str(value.failure_reason)
        assert not (tmp_path / "models").exists()


async def test_power_of_choice_goes_by_the_losses_that_clients_reported(database_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder(loss=loss) for name, loss in (("a", 1.0), ("b", 3.0), ("c", 2.0))}
    rules = SelectionConfig(strategy="power-of-choice", min_clients=1, max_clients=1, parameters={"factor": 3})
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(selection=rules)
        rounds = [await running.run_round(training_id) for _ in range(3)]
        assert {value.selected_clients for value in rounds} == {("a",), ("b",), ("c",)}  # those without a loss first

        assert (await running.run_round(training_id)).selected_clients == ("b",)
        trainers["b"].loss = 0.5
        following = [(await running.run_round(training_id)).selected_clients for _ in range(2)]
        assert following == [("b",), ("c",)]


async def test_a_parameter_that_the_strategy_has_no_more_abandons_the_round(sqlite_url: str, tmp_path: Path) -> None:
    rules = SelectionConfig(strategy="oort", min_clients=1, max_clients=1, parameters={"gone": 3})
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        value = await running.run_round(await running.create(selection=rules))
        assert (value.status, value.failure_reason) == (
            "abandoned",
            "/parameters/gone is no parameter of the strategy, whose parameters are preferred_percentile",
        )


def _let_agents_send_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK refuses to send what the control plane would reject; a hostile agent does not."""
    monkeypatch.setattr("app.agent.results._as_received", lambda returned, _received: returned)


async def _has_started(trainer: Adder) -> bool:
    return bool(trainer.fitted)


async def _has_status(running: Plane, training_id: str, status: str) -> bool:
    return (await running.system.trainings.get(training_id)).status == status


async def _received(running: Plane, training_id: str, count: int) -> bool:
    value: Round = await running.round(training_id, 1)
    return sum(part.status == "received" for part in value.participations) == count
