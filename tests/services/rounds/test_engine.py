"""A round from its order to its end, over the product's own path: database, files, dispatch, agents."""

import math
from pathlib import Path

import pytest

from app.domain.errors import StateForbids
from app.domain.trainings import SelectionConfig
from tcsfeel.aggregation.goals import Goal
from tests.clocks import FakeClock
from tests.planes import Adder, plane, policy, until
from tests.services.courses import has_status, statuses


async def test_a_round_averages_the_updates_by_their_examples(database_url: str, tmp_path: Path) -> None:
    # (10 * 1 + 30 * 5) / 40 = 4
    trainers = {"a": Adder(1.0, examples=10), "b": Adder(5.0, examples=30)}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        round_ = await running.run_round(training_id)

        assert round_.status == "completed"
        assert statuses(round_) == {"a": "received", "b": "received"}
        assert await running.weight(training_id, 0) == 0.0
        assert await running.weight(training_id, 1) == 4.0
        assert round_.average_accuracy == pytest.approx(0.4)  # what `evaluate` says of w = 4
        training = await running.system.trainings.get(training_id)
        assert (training.status, training.accuracy, training.model) == ("paused", round_.average_accuracy, round_.model)


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
        training_id = await running.create(goal=Goal(target=0.45), max_rounds=50)  # reached at w = 5
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_status(running, training_id, "completed"))

        training = await running.system.trainings.get(training_id)
        assert (training.stop_reason, training.current_round) == ("target_accuracy", 5)
        assert training.best_accuracy == pytest.approx(0.5)


async def test_a_training_ends_at_its_round_limit(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(0.0)}) as running:
        training_id = await running.create(max_rounds=2)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_status(running, training_id, "completed"))

        training = await running.system.trainings.get(training_id)
        assert (training.stop_reason, training.current_round) == ("max_rounds", 2)


async def test_hyperparameters_reach_the_trainer(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder()}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        given = {"local_epochs": 3, "proximal_mu": 0.25, "my_own": "x"}
        await running.run_round(await running.create(aggregation="fedprox", hyperparameters=given))
        assert trainers["a"].hyperparameters == given


async def test_what_happened_is_measured(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(loss=0.5)}) as running:
        round_ = await running.run_round(await running.create())

        client = await running.system.clients.get("a")
        assert client.measured.reliability == pytest.approx(0.93)
        assert client.measured.last_update_quality == pytest.approx(math.exp(-0.5))
        assert (client.rounds_selected, client.rounds_completed) == (1, 1)
        (part,) = round_.participations
        fit_bytes = part.bytes_sent + part.bytes_received
        assert part.bytes_sent > 12  # three float32 and a header
        assert part.bytes_received > 12
        assert round_.communication_bytes > fit_bytes  # the evaluation's too
        assert round_.fairness == 1.0


async def test_too_few_clients_abandon_the_round_and_say_so(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        round_ = await running.run_round(await running.create(clients=2, round_policy=policy(max_wait_seconds=0.0)))
        assert round_.status == "abandoned"
        assert round_.failure_reason == (
            "1 of 1 clients can be selected (healthy, admitted by their breaker, and free), but min_clients is 2"
        )


async def test_failed_rounds_in_a_row_end_a_training(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, database_url, {"a": Adder()}, clock=clock) as running:
        training_id = await running.create(clients=2, round_policy=policy(max_failed_rounds=2, max_wait_seconds=0.0))
        await running.system.trainings.start(training_id)
        await running.drive()
        await running.ended(training_id, 1)
        clock.advance(0.9)
        assert (await running.system.trainings.get(training_id)).current_round == 1  # one second of pause
        clock.advance(0.2)
        await until(lambda: has_status(running, training_id, "failed"))
        training = await running.system.trainings.get(training_id)
        assert training.stop_reason == "too_many_failed_rounds"
        assert "min_clients is 2" in str(training.stop_detail)


async def test_without_evaluating_clients_nothing_is_measured(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        round_ = await running.run_round(await running.create(evaluation_clients=0))
        assert (round_.status, round_.average_accuracy) == ("completed", None)


async def test_a_round_by_hand_is_refused_while_the_training_runs(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        training_id = await running.create()
        await running.system.trainings.start(training_id)
        with pytest.raises(StateForbids, match="cannot run one round of a training that is running"):
            await running.system.trainings.run_round(training_id)


async def test_a_round_begun_after_a_pause_has_its_own_time_and_no_more(sqlite_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with plane(tmp_path, sqlite_url, {"a": Adder()}, clock=clock) as running:
        training_id = await running.create(round_policy=policy(deadline_seconds=60.0), evaluation_clients=0)
        await running.run_round(training_id)
        clock.advance(3600.0)  # the training is paused
        round_ = await running.run_round(training_id)
        assert round_.deadline_at - round_.started_at == 60.0


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
            events = [event.type for event in (await tx.events.after(0, training_id=training_id, limit=100)).items]
        assert events == [
            "training.created",
            "training.round_requested",
            "round.started",
            "training.model_fetched",
            "round.planned",
            "participation.received",
            "participation.skipped",
            "round.aggregated",
            "evaluation.received",
            "evaluation.skipped",  # its agent is still busy with what it was told to forget
            "round.completed",
            "training.completed",
        ]


async def test_power_of_choice_goes_by_the_losses_that_clients_reported(database_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder(loss=loss) for name, loss in (("a", 1.0), ("b", 3.0), ("c", 2.0))}
    rules = SelectionConfig(strategy="power-of-choice", min_clients=1, max_clients=1, parameters={"factor": 3})
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(selection=rules)
        rounds = [await running.run_round(training_id) for _ in range(3)]
        assert {round_.selected_clients for round_ in rounds} == {("a",), ("b",), ("c",)}  # those without a loss first

        assert (await running.run_round(training_id)).selected_clients == ("b",)
        trainers["b"].loss = 0.5
        following = [(await running.run_round(training_id)).selected_clients for _ in range(2)]
        assert following == [("b",), ("c",)]


async def test_a_parameter_that_the_strategy_has_no_more_abandons_the_round(sqlite_url: str, tmp_path: Path) -> None:
    rules = SelectionConfig(strategy="oort", min_clients=1, max_clients=1, parameters={"gone": 3})
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        round_ = await running.run_round(await running.create(selection=rules))
        assert (round_.status, round_.failure_reason) == (
            "abandoned",
            "parameters.gone is no parameter of the strategy, whose parameters are preferred_percentile",
        )
