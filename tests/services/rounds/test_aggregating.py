"""What a round makes of its updates: every rule of aggregation, over the product's own path."""

import math
from pathlib import Path

import pytest

from tcsfeel.aggregation.config import Aggregation
from tests.planes import Adder, plane, policy
from tests.services.courses import parts, statuses


async def test_weighted_counts_examples_times_accuracy(sqlite_url: str, tmp_path: Path) -> None:
    # weights 10 * 0.2 = 2 and 10 * 0.8 = 8: (2 * 1 + 8 * 6) / 10 = 5
    trainers = {"a": Adder(1.0, accuracy=0.2), "b": Adder(6.0, accuracy=0.8)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(aggregation="weighted")
        await running.run_round(training_id)
        assert await running.weight(training_id) == 5.0


async def test_fednova_divides_updates_by_their_steps(database_url: str, tmp_path: Path) -> None:
    # shares 1/4 and 3/4, steps of 1 and 2 each: (1/4 * 2 + 3/4 * 4) * (1/4 * 1 + 3/4 * 2) = 3.5 * 1.75
    trainers = {"a": Adder(2.0, examples=10), "b": Adder(8.0, examples=30)}
    trainers["a"].steps, trainers["b"].steps = 2, 4
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(aggregation="fednova")
        round_ = await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(6.125)
        assert {part.client_id: part.num_steps for part in round_.participations} == {"a": 2, "b": 4}


async def test_fednova_rejects_an_update_that_does_not_say_its_steps(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"says": Adder(1.0), "silent": Adder(1.0)}
    trainers["says"].steps = 5
    async with plane(tmp_path, sqlite_url, trainers) as running:
        round_ = await running.run_round(await running.create(aggregation="fednova", round_policy=policy(quorum=0.5)))
        assert statuses(round_) == {"says": "received", "silent": "rejected"}
        assert str(parts(round_)["silent"].reason).startswith("its result has no num_steps, by which")


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
    trainers = {name: Adder(step) for name, step in zip("abcde", (1e14, 2.0, 3.0, 1.0, 4.0), strict=True)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(aggregation=rule)
        await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(wanted, abs=1e-2)


async def test_krum_without_enough_updates_abandons_the_round_and_says_so(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder() for name in "abcde"}
    trainers["e"].problem = RuntimeError("no power")
    async with plane(tmp_path, sqlite_url, trainers) as running:
        round_ = await running.run_round(await running.create(aggregation="krum", round_policy=policy(quorum=0.6)))
        reason = "krum against f = 1 hostile updates needs at least 2f + 3 = 5, there are 4"
        assert (round_.status, round_.failure_reason) == ("abandoned", reason)


async def test_updates_are_shortened_to_the_norm_that_is_allowed(sqlite_url: str, tmp_path: Path) -> None:
    # (3, 3, 3) is 5.196 long, of which 1.732 are left: 1 in each direction. (1 + 0.5) / 2
    async with plane(tmp_path, sqlite_url, {"a": Adder(3.0), "b": Adder(0.5)}) as running:
        training_id = await running.create(hyperparameters={"server_clip_norm": math.sqrt(3.0)})
        await running.run_round(training_id)
        assert await running.weight(training_id) == pytest.approx(0.75, abs=1e-6)


async def test_updates_without_weight_abandon_the_round_and_the_model_stays(database_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(1.0, accuracy=0.0), "b": Adder(1.0, accuracy=0.0)}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(aggregation="weighted")
        round_ = await running.run_round(training_id)

        assert (round_.status, round_.failure_reason) == ("abandoned", "the updates' weights add up to zero")
        assert await running.weight(training_id) == 0.0
        training = await running.system.trainings.get(training_id)
        assert (training.status, training.failed_in_row) == ("paused", 1)
