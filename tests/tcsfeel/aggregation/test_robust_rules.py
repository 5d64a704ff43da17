"""Robust rules against plain numpy, and against hostile updates."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import ROBUST, WEIGHTS, Parameters, UpdateFacts, Updates, next_model, shortage
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.robust import squared_distances, trimmed, usual_byzantine
from tcsfeel.errors import UnusableRound
from tests.tcsfeel.models import assembled

Array = npt.NDArray[Any]


def combined(rule: Aggregation, updates: list[Parameters], **hyperparameters: float) -> dict[str, Array]:
    """The new model from updates, of which each one claims a number of examples of its own."""
    config = TrainingConfig(name="t", aggregation=rule, hyperparameters=hyperparameters)
    facts = [UpdateFacts(number + 1, 1.0, {"accuracy": 0.5}) for number in range(len(updates))]
    model = {name: np.zeros_like(tensor) for name, tensor in updates[0].items()} if updates else {}
    return assembled(next_model(config, Updates(model, updates), facts), model)


def drawn(count: int, seed: int = 1) -> list[Parameters]:
    """Updates of two float64 tensors, the larger one of several blocks."""
    rng = np.random.default_rng(seed)
    return [{"w": rng.standard_normal((2, 50_000)), "b": rng.standard_normal(3)} for _ in range(count)]


def flat(update: Parameters) -> Array:
    return np.concatenate([np.ravel(update[name]) for name in sorted(update)]).astype(np.float64)


def krum_by_numpy(stack: Array, byzantine: int, keep: int) -> Array:
    distances = ((stack[:, None] - stack[None]) ** 2).sum(axis=-1)
    scores = [np.sort(np.delete(row, one))[: len(stack) - byzantine - 2].sum() for one, row in enumerate(distances)]
    return np.asarray(stack[np.argsort(scores, kind="stable")[:keep]].mean(axis=0))


def trimmed_by_numpy(stack: Array, cut: int) -> Array:
    return np.asarray(np.sort(stack, axis=0)[cut : len(stack) - cut].mean(axis=0))


def weiszfeld_by_numpy(stack: Array) -> Array:
    point = np.median(stack, axis=0)
    for _ in range(500):
        nearness = 1 / np.maximum(np.linalg.norm(stack - point, axis=1), 1e-9)
        point = (stack * nearness[:, None]).sum(axis=0) / nearness.sum()
    return np.asarray(point)


REFERENCES: list[tuple[Aggregation, dict[str, float], int, Callable[[Array], Array]]] = [
    ("median", {}, 7, lambda stack: np.asarray(np.median(stack, axis=0))),
    ("median", {}, 8, lambda stack: np.asarray(np.median(stack, axis=0))),
    ("trimmed_mean", {}, 7, lambda stack: trimmed_by_numpy(stack, 2)),
    ("trimmed_mean", {"server_trim_fraction": 0.4}, 7, lambda stack: trimmed_by_numpy(stack, 3)),
    ("krum", {}, 7, lambda stack: krum_by_numpy(stack, 2, 1)),
    ("krum", {"server_byzantine_clients": 1}, 7, lambda stack: krum_by_numpy(stack, 1, 1)),
    ("multi_krum", {}, 7, lambda stack: krum_by_numpy(stack, 2, 3)),
    ("multi_krum", {"server_byzantine_clients": 0}, 7, lambda stack: krum_by_numpy(stack, 0, 5)),
    ("geometric_median", {}, 7, weiszfeld_by_numpy),
]


@pytest.mark.parametrize(("rule", "hyperparameters", "count", "reference"), REFERENCES)
def test_each_rule_is_what_plain_numpy_says(
    rule: Aggregation, hyperparameters: dict[str, float], count: int, reference: Callable[[Array], Array]
) -> None:
    updates = drawn(count)
    for number, update in enumerate(updates):  # nearer and farther ones, so that scores and distances differ
        for tensor in update.values():
            np.multiply(tensor, 1 + number / 10, out=tensor)
    wanted = reference(np.stack([flat(update) for update in updates]))
    result = flat(combined(rule, updates, **hyperparameters))
    np.testing.assert_allclose(result, wanted, rtol=1e-9, atol=1e-3 if rule == "geometric_median" else 1e-12)


def test_the_geometric_median_of_points_whose_median_is_known() -> None:
    # of four points the crossing of the diagonals, wherever the corners are
    corners = [(0.0, 0.0), (4.0, 4.0), (0.0, 2.0), (2.0, 0.0)]
    result = combined("geometric_median", [{"w": np.array(corner)} for corner in corners])
    np.testing.assert_allclose(result["w"], [1.0, 1.0], atol=1e-3)


def test_of_equally_good_updates_krum_takes_the_first() -> None:
    updates: list[Parameters] = [{"w": np.array([value])} for value in (2.0, 1.0, 3.0, 0.0, 4.0)]
    assert combined("krum", updates)["w"] == 2.0  # 2 and 1 and 3 score 2; 2 comes first
    assert combined("krum", updates[1:] + updates[:1])["w"] == 1.0


def test_krum_goes_by_all_but_the_hostile_and_itself_and_one() -> None:
    updates: list[Parameters] = [{"w": np.array([value])} for value in (0.0, 0.1, 5.0, 6.0, 7.0)]
    # by the nearest two: 0 scores 0.01 + 25, 0.1 scores 0.01 + 24.01, 5 scores 1 + 4, 6 scores 1 + 1, 7 scores 1 + 4
    assert combined("krum", updates)["w"] == 6.0


def test_the_geometric_median_is_found_when_a_step_gains_nothing() -> None:
    passes: list[int] = []
    model: Parameters = {"w": np.zeros(3)}
    updates = Updates(model, [{"w": np.ones(3)}] * 5, release=lambda: passes.append(1))
    config = TrainingConfig(name="t", aggregation="geometric_median")
    next_model(config, updates, [UpdateFacts(1, 1.0, {"accuracy": 0.5})] * 5)
    assert len(passes) == 3  # the start, one step, and one that is no better


@pytest.mark.parametrize("rule", list(ROBUST))
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8])
@pytest.mark.parametrize("hostile", [-1, 1])
def test_one_hostile_update_of_huge_values_moves_the_result_within_what_the_others_say(
    rule: Aggregation, dtype: type[Any], hostile: int
) -> None:
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    end = limits.max if hostile > 0 else limits.min
    rng = np.random.default_rng(3)
    updates: list[Parameters] = [
        {"w": rng.integers(10, 20, 100).astype(dtype), "e": np.zeros((2, 0), dtype)} for _ in range(6)
    ]
    updates.insert(2, {"w": np.full(100, end, dtype), "e": np.zeros((2, 0), dtype)})
    result = combined(rule, updates)
    assert (result["w"].dtype, result["e"].shape) == (np.dtype(dtype), (2, 0))
    found = result["w"].astype(np.float64)
    # what an update can do at most to the geometric median: pull with the strength of one
    slack = 1.0 if rule == "geometric_median" else 0.0
    assert found.min() >= 10 - slack
    assert found.max() <= 19 + slack


def test_the_plain_mean_is_carried_away_by_such_an_update() -> None:
    updates: list[Parameters] = [{"w": np.ones(3)} for _ in range(6)] + [{"w": np.full(3, 1e30)}]
    assert combined("fedavg", updates)["w"].min() > 1e29


def test_krum_sees_through_two_who_agree_when_told_of_two() -> None:
    updates = drawn(7)
    lie: Parameters = {"w": np.full((2, 50_000), 9.0), "b": np.full(3, 9.0)}
    both = [*updates[:5], lie, lie]
    for rule in ("krum", "multi_krum"):
        assert np.abs(flat(combined(rule, both, server_byzantine_clients=2))).max() < 6


@given(order=st.permutations(range(7)), rule=st.sampled_from(list(ROBUST)), seed=st.integers(0, 1000))
def test_the_order_of_updates_hardly_matters_and_the_same_order_gives_the_same_bytes(
    order: list[int], rule: Aggregation, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    updates: list[Parameters] = [{"w": rng.standard_normal(5)} for _ in range(7)]
    first = combined(rule, updates)["w"]
    assert combined(rule, updates)["w"].tobytes() == first.tobytes()
    np.testing.assert_allclose(combined(rule, [updates[one] for one in order])["w"], first, rtol=1e-9, atol=1e-9)


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=5, max_size=12), rule=st.sampled_from(list(ROBUST)))
def test_a_result_lies_between_the_smallest_and_the_largest(values: list[float], rule: Aggregation) -> None:
    result = combined(rule, [{"w": np.array([value])} for value in values])["w"][0]
    slack = 1e-9 * max(map(abs, values), default=0.0)
    assert min(values) - slack <= result <= max(values) + slack


@pytest.mark.parametrize("rule", list(ROBUST))
def test_updates_that_agree_are_the_result(rule: Aggregation) -> None:
    update: Parameters = {"w": np.array([0.1, -3.0], np.float32), "b": np.array([True, False])}
    result = combined(rule, [update] * 5)
    np.testing.assert_allclose(result["w"], update["w"], rtol=float(np.finfo(np.float32).eps))
    np.testing.assert_array_equal(result["b"], update["b"])


@pytest.mark.parametrize(
    ("rule", "count", "reason"),
    [
        ("krum", 4, r"krum against f = 1 hostile updates needs at least 2f \+ 3 = 5, there are 4"),
        ("multi_krum", 4, "multi_krum against f = 1"),
        ("trimmed_mean", 0, "^there are no updates$"),
        ("median", 0, "there are no updates"),
        ("geometric_median", 0, "there are no updates"),
    ],
)
def test_too_few_updates_give_no_model_and_the_reason_says_how_many(rule: Aggregation, count: int, reason: str) -> None:
    with pytest.raises(UnusableRound, match=reason):
        combined(rule, [{"w": np.ones(1)}] * count)


def test_what_is_trimmed_is_rounded_up_but_not_by_an_error_of_rounding() -> None:
    assert [trimmed(count, 0.1) for count in (3, 10, 11, 20)] == [1, 1, 2, 2]
    assert trimmed(100, 0.29) == 29  # 0.29 * 100 is 28.999999999999996


def test_how_many_hostile_updates_are_stood_follows_their_number() -> None:
    # a quarter rounded up; of 7 and 8 krum can stand (n - 3) / 2 = 2, of 4 none, which is asked for all the same
    counts = [3, 4, 5, 6, 7, 8, 9, 10, 12, 20, 30, 100]
    assert [usual_byzantine(count) for count in counts] == [1, 1, 1, 1, 2, 2, 3, 3, 3, 5, 8, 25]
    assert all(shortage("krum", count, usual_byzantine(count)) is None for count in range(5, 200))
    assert all(usual_byzantine(count) >= count // 5 for count in range(5, 200))


def test_distances_between_updates_are_squared_and_the_same_both_ways() -> None:
    updates = Updates({"w": np.zeros(2)}, [{"w": np.array(place)} for place in ([0.0, 0.0], [3.0, 4.0], [0.0, 4.0])])
    np.testing.assert_array_equal(squared_distances(updates), [[0, 25, 16], [25, 0, 9], [16, 9, 0]])


def test_at_least_one_value_is_kept() -> None:
    assert [trimmed(count, 0.49) for count in (1, 2, 3, 4, 5)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("rule", get_args(Aggregation))
def test_one_update_is_enough_for_every_rule_but_krum(rule: Aggregation) -> None:
    enough = next(count for count in range(20) if shortage(rule, count, byzantine=3) is None)
    assert enough == (9 if rule in {"krum", "multi_krum"} else 1)


def test_every_rule_is_one_of_the_means_or_robust() -> None:
    assert sorted([*WEIGHTS, *ROBUST]) == sorted(get_args(Aggregation))


def test_every_robust_rule_has_a_reference_in_plain_numpy() -> None:
    assert {rule for rule, *_ in REFERENCES} == set(ROBUST)
