"""Running statistics and counters: every rule averages them, no server optimiser moves them, nothing shortens them."""

from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import Parameters, UpdateFacts, Updates, next_model
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.statistics import learnt
from tests.depth import tries
from tests.tcsfeel.models import assembled

Array = npt.NDArray[Any]
VARIANCES = st.floats(2.0**-60, 2.0**60, width=32)


def rounds_of(
    rule: Aggregation, model: Parameters, each: list[list[Parameters]], config: TrainingConfig
) -> list[dict[str, Array]]:
    """The models after each round, from the updates of each."""
    before, state, models = None, None, []
    for updates in each:
        facts = [UpdateFacts(number + 1, 1.0, {"accuracy": 0.5}) for number in range(len(updates))]
        clip = config.hyperparameter("server_clip_norm", np.inf)
        given_updates = Updates(model, updates, clip_norm=clip, statistics=config.statistics)
        new = next_model(config, given_updates, facts, before=before, state=state)
        before, model = model, assembled(new, model)
        state = new.optimiser.state()
        models.append(dict(model))
    assert config.aggregation == rule
    return models


@pytest.mark.parametrize(
    "name",
    [
        "running_mean", "bn1.running_var", "layer.0/bn/num_batches_tracked", "bn/moving_mean", "bn.moving_variance:0",
        "batch_stats/BatchNorm_0/mean", "net.batch_stats.bn.var", "bn_moving_var",
    ],
)  # fmt: skip
def test_well_known_statistics_are_not_learnt(name: str) -> None:
    model = {name: np.ones(1, np.float32), "w": np.ones(1, np.float32)}
    wanted = {"w", name} if name == "bn_moving_var" else {"w"}  # a component has to be the name as a whole
    assert learnt(model, ()) == wanted


def test_a_training_may_name_more_statistics_and_integers_are_never_learnt() -> None:
    model: dict[str, Array] = {
        "head.ema": np.ones(1), "head.emanate": np.ones(1), "w": np.ones(1), "n": np.ones(1, np.int32),
        "b": np.array([True]), "Head.ema": np.ones(1),
    }  # fmt: skip
    assert learnt(model, ("head.*ema",)) == {"w", "head.emanate", "Head.ema"}
    assert learnt(model, ("*",)) == set()


@pytest.mark.parametrize("rule", ["fedadam", "fedyogi", "fedadagrad", "fedavgm"])
def test_a_variance_that_every_client_reports_as_positive_stays_positive(rule: Aggregation) -> None:
    model: dict[str, Array] = {"bn.running_var": np.ones(1, np.float32), "w": np.zeros(1, np.float32)}
    reported = [0.5, 0.2, 0.1, 0.05, 0.05, 0.05]
    each: list[list[Parameters]] = [
        [{"bn.running_var": np.full(1, value, np.float32), "w": np.ones(1, np.float32)}] for value in reported
    ]
    models = rounds_of(rule, model, each, TrainingConfig(name="t", aggregation=rule))
    assert [float(new["bn.running_var"][0]) for new in models] == pytest.approx(reported)
    assert models[0]["w"] > 0


def test_after_14_rounds_of_fedadam_a_shrinking_variance_is_the_weighted_mean() -> None:
    """The fault (flower#1060): the running variance was -0.43 after 14 rounds, and the next forward pass was NaN."""
    model: dict[str, Array] = {"bn.running_var": np.ones(1, np.float32), "w": np.zeros(1, np.float32)}
    reported = [[0.9**number * (1.0 + 0.1 * client) for client in range(3)] for number in range(14)]
    each: list[list[Parameters]] = [
        [{"bn.running_var": np.full(1, value, np.float32), "w": np.ones(1, np.float32)} for value in values]
        for values in reported
    ]
    models = rounds_of("fedadam", model, each, TrainingConfig(name="t", aggregation="fedadam"))
    means = [(values[0] + 2 * values[1] + 3 * values[2]) / 6 for values in reported]  # of 1, 2 and 3 examples
    assert [float(new["bn.running_var"][0]) for new in models] == pytest.approx(means)


@tries(60)
@given(
    rule=st.sampled_from(get_args(Aggregation)),
    reported=st.lists(st.lists(VARIANCES, min_size=5, max_size=5), min_size=1, max_size=3),
    first=VARIANCES,
    clip=st.sampled_from([None, 1e-3, 1.0]),
    rate=st.sampled_from([None, 0.1, 5.0]),
)
def test_the_models_variance_lies_between_those_reported(
    rule: Aggregation, reported: list[list[float]], first: float, clip: float | None, rate: float | None
) -> None:
    hyperparameters: dict[str, float] = {}
    if clip is not None:
        hyperparameters["server_clip_norm"] = clip
    if rate is not None:
        hyperparameters["server_learning_rate"] = rate
    config = TrainingConfig(name="t", aggregation=rule, hyperparameters=hyperparameters, statistics=("own*",))
    names = ("bn.running_var", "own")
    model: dict[str, Array] = {name: np.full(1, first, np.float32) for name in names} | {"w": np.zeros(2, np.float32)}
    each: list[list[Parameters]] = [
        [
            {name: np.full(1, round_, np.float32) for name in names} | {"w": np.full(2, number, np.float32)}
            for number, round_ in enumerate(values)
        ]
        for values in reported
    ]
    for values, new in zip(reported, rounds_of(rule, model, each, config), strict=True):
        for name in names:
            assert min(values) * (1 - 1e-6) <= float(new[name][0]) <= max(values) * (1 + 1e-6)


def test_a_counter_and_a_statistic_do_not_shorten_what_was_learnt() -> None:
    # "w" went a way of 5, of which 2.5 are allowed; the counter of 1000 batches is no part of it, and is not shortened
    model: dict[str, Array] = {
        "w": np.zeros(2, np.float32), "bn.num_batches_tracked": np.zeros(1, np.int64),
        "bn.running_mean": np.zeros(1, np.float32),
    }  # fmt: skip
    update: dict[str, Array] = {
        "w": np.array([3, 4], np.float32), "bn.num_batches_tracked": np.full(1, 1000),
        "bn.running_mean": np.full(1, 70.0, np.float32),
    }  # fmt: skip
    for rule in ("fedavg", "median"):
        config = TrainingConfig(name="t", aggregation=rule, hyperparameters={"server_clip_norm": 2.5})
        (new,) = rounds_of(rule, model, [[update]], config)
        np.testing.assert_allclose(new["w"], [1.5, 2.0], rtol=1e-6)
        assert (new["bn.num_batches_tracked"][0], new["bn.running_mean"][0]) == (1000, 70.0)


def test_momentum_moves_no_integer() -> None:
    model: dict[str, Array] = {"n": np.array([3]), "w": np.zeros(1)}
    each: list[list[Parameters]] = [[{"n": np.array([value]), "w": np.ones(1)}] for value in (9, 9)]
    models = rounds_of("fedavgm", model, each, TrainingConfig(name="t", aggregation="fedavgm"))
    assert [int(new["n"][0]) for new in models] == [9, 9]  # with momentum the second would be 9 + 0.9 * 6
