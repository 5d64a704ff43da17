"""Weights that balance the labels behind updates, against the conditions of their optimum."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.balance import (
    Floats,
    balanced,
    balanced_in_means,
    balanced_within_bounds,
    moderated,
)
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import UpdateFacts, Updates, next_model
from tcsfeel.aggregation.mean import PENALTY
from tcsfeel.aggregation.weights import bounded, largest_share
from tests.depth import tries
from tests.tcsfeel.models import assembled

PENALTIES = st.sampled_from([1e-6, 1e-3, PENALTY, 1.0, 100.0])


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[float], Floats]:
    """Draw examples of some updates, and how their label shares differ from those of a fleet."""
    seed, count, labels = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 12)), draw(st.integers(2, 20))
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(labels, draw(st.sampled_from([0.1, 1.0, 10.0]))), count)
    return rng.integers(1, 1000, count).astype(float).tolist(), shares - rng.dirichlet(np.ones(labels))


def objective(weights: Floats, examples: list[float], skew: Floats, penalty: float) -> float:
    """Compute what the weights minimise, from its definition."""
    shares = np.array(examples) / sum(examples)
    return float(((weights @ skew) ** 2).sum() + penalty / len(weights) * ((weights - shares) ** 2 / shares).sum())


@tries(200)
@given(found=rounds(), penalty=PENALTIES)
def test_the_weights_are_on_the_simplex_and_no_other_ones_are_better(
    found: tuple[list[float], Floats], penalty: float
) -> None:
    examples, skew = found
    weights = np.array(balanced(examples, skew, penalty))
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    best, shares = objective(weights, examples, skew, penalty), np.array(examples) / sum(examples)
    assert best <= objective(shares, examples, skew, penalty) * (1 + 1e-9)
    # At the optimum of a convex function over the simplex, no move of weight from one client to another lowers it.
    slope = 2 * skew @ (weights @ skew) + 2 * penalty / len(weights) * (weights - shares) / shares
    lowest, scale = slope.min(), np.abs(slope).max() + penalty
    assert (slope[weights > 1e-9] <= lowest + 1e-7 * scale).all()


@tries(100)
@given(found=rounds(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_updates_does_not_matter(found: tuple[list[float], Floats], order: random.Random) -> None:
    examples, skew = found
    places = list(range(len(examples)))
    order.shuffle(places)
    shuffled = balanced([examples[place] for place in places], skew[places])
    assert shuffled == pytest.approx([balanced(examples, skew)[place] for place in places], abs=1e-9)


@tries(100)
@given(found=rounds())
def test_equal_label_shares_give_the_weights_of_fedavg(found: tuple[list[float], Floats]) -> None:
    examples, skew = found
    same = np.repeat(skew[:1], len(examples), axis=0)
    wanted = np.array(examples) / sum(examples)
    assert balanced(examples, same) == pytest.approx(wanted, abs=1e-9)
    assert balanced(examples, np.zeros_like(same)) == pytest.approx(wanted, abs=1e-15)


@tries(100)
@given(found=rounds())
def test_a_large_penalty_gives_the_weights_of_fedavg(found: tuple[list[float], Floats]) -> None:
    examples, skew = found
    assert balanced(examples, skew, 1e6) == pytest.approx(np.array(examples) / sum(examples), abs=1e-4)


@tries(200)
@given(found=rounds(), penalty=PENALTIES, seed=st.integers(0, 2**32 - 1))
def test_updates_in_a_mean_keep_their_proportions_and_no_such_weights_are_better(
    found: tuple[list[float], Floats], penalty: float, seed: int
) -> None:
    examples, skew = found
    rng = np.random.default_rng(seed)
    means = np.unique(rng.integers(0, 4, len(examples)), return_inverse=True)[1]
    shares = np.array(examples) / sum(examples)
    usual = np.asarray(np.bincount(means, shares), np.float64)
    weights = balanced_in_means(usual, shares / usual[means], skew, means, penalty)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    sums, parts = np.bincount(means, weights), shares / usual[means]
    assert weights == pytest.approx(sums[means] * parts, abs=1e-12)
    # At the optimum, no move of weight from one mean to another lowers what the weights of all updates minimise.
    of_each = 2 * skew @ (weights @ skew) + 2 * penalty / len(weights) * (weights - shares) / shares
    slope = np.bincount(means, parts * of_each)
    assert (slope[sums > 1e-9] <= slope.min() + 1e-7 * (np.abs(slope).max() + penalty)).all()


@tries(50)
@given(found=rounds())
def test_updates_on_their_own_weigh_the_same_to_the_bit(found: tuple[list[float], Floats]) -> None:
    examples, skew = found
    alone = balanced_in_means(np.array(examples), np.ones(len(examples)), skew, np.arange(len(examples)))
    assert alone.tolist() == balanced(examples, skew)


@tries(200)
@given(found=rounds(), seed=st.integers(0, 2**32 - 1))
def test_no_client_in_a_mean_weighs_more_than_any_client_may(found: tuple[list[float], Floats], seed: int) -> None:
    examples, skew = found
    means = np.unique(np.random.default_rng(seed).integers(0, 4, len(examples)), return_inverse=True)[1]
    config = TrainingConfig(name="t", aggregation="balanced")
    weights = np.array(balanced_within_bounds(examples, skew, config, means.tolist()))
    assert weights.sum() == pytest.approx(1.0)
    parts = np.array(examples) / np.bincount(means, examples)[means]
    assert weights == pytest.approx(np.bincount(means, weights)[means] * parts, abs=1e-12), "as the relay has made them"
    usual = np.bincount(means, bounded(examples, config))[means] * parts
    largest = max(largest_share(config, len(examples)), (usual / usual.sum()).max())
    assert weights.max() <= largest * (1 + 1e-9)


def test_two_clients_by_hand() -> None:
    # Equally many examples; labels (1, 0) and (0, 1) in a fleet of (3/4, 1/4), so s = (1/4, -1/4) and (-3/4, 3/4).
    # With w = (x, 1 - x): ||sum w s||^2 = 2 (x - 3/4)^2, and the penalty is 0.5 / 2 * 4 (x - 1/2)^2 = (x - 1/2)^2.
    # The derivative 4 (x - 3/4) + 2 (x - 1/2) is 0 at x = 2/3.
    skew = np.array([[0.25, -0.25], [-0.75, 0.75]])
    assert balanced([50.0, 50.0], skew, 0.5) == pytest.approx([2 / 3, 1 / 3])


def test_an_update_of_labels_that_others_already_have_may_get_no_weight() -> None:
    # The fleet has even labels; the first two clients together have them, and the third one only the first label.
    skew = np.array([[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5]])
    first, second, third = balanced([100.0, 10.0, 100.0], skew, 1e-6)
    assert [first, second, third] == pytest.approx([0.25, 0.5, 0.25], abs=1e-3)
    all_too_much = np.array([[0.1], [0.1], [1.0]])
    assert balanced([1.0, 1.0, 1.0], all_too_much, 1e-3) == pytest.approx([0.5, 0.5, 0.0], abs=1e-12)


def test_weights_beyond_a_share_move_towards_the_usual_ones() -> None:
    usual = [1.0, 1.0, 2.0, 4.0]  # 0.125, 0.125, 0.25, 0.5
    assert moderated([1.0, 1.0, 1.0, 1.0], usual, 0.5) == [0.25] * 4, "no share is larger than a half"
    assert moderated([0.0, 0.0, 8.0, 0.0], usual, 0.5) == pytest.approx([1 / 12, 1 / 12, 0.5, 1 / 3])  # a third of it
    assert moderated([0.0, 0.0, 0.0, 8.0], usual, 0.5) == [0.125, 0.125, 0.25, 0.5], "which has its share already"


def test_an_update_without_a_weight_gets_none() -> None:
    assert balanced([1.0, 0.0], np.array([[1.0], [-1.0]])) == [1.0, 0.0]


def test_ten_thousand_updates_are_balanced() -> None:
    rng = np.random.default_rng(1)
    skew = rng.dirichlet(np.full(10, 0.1), 10_000) - rng.dirichlet(np.ones(10))
    weights = np.array(balanced(rng.integers(1, 100, 10_000).astype(float).tolist(), skew))
    assert weights.sum() == pytest.approx(1.0)
    assert np.abs(weights @ skew).max() < 1e-3 < np.abs(skew.mean(axis=0)).max()


def test_a_model_is_the_mean_with_given_weights_within_the_bounds_for_each_client() -> None:
    config = TrainingConfig(name="t", aggregation="balanced")
    model = {"w": np.zeros(1)}
    updates, facts = [{"w": np.array([value])} for value in (1.0, 2.0, 4.0)], [UpdateFacts(10, 0.0)] * 3
    new = next_model(config, Updates(model, updates), facts, weights=[0.5, 0.25, 0.25])
    assert assembled(new, model)["w"][0] == 0.5 + 0.5 + 1.0
    new = next_model(config, Updates(model, updates), facts)
    assert assembled(new, model)["w"][0] == pytest.approx(7 / 3)  # without weights it is the mean by examples
    bounded = TrainingConfig(name="t", aggregation="balanced", hyperparameters={"server_largest_multiple": 2.0})
    new = next_model(bounded, Updates(model, updates), facts, weights=[0.1, 0.1, 0.8])
    assert assembled(new, model)["w"][0] == pytest.approx((0.1 + 0.2 + 0.8) / 0.4)


def test_the_mean_of_a_relay_has_the_weight_that_it_is_given() -> None:
    config = TrainingConfig(name="t", aggregation="balanced")
    model, updates = {"w": np.zeros(1)}, [{"w": np.array([value])} for value in (1.0, 5.0)]
    members = [[UpdateFacts(10, 0.0), UpdateFacts(20, 0.0)], [UpdateFacts(30, 0.0)]]
    facts = [group[0] for group in members]
    new = next_model(config, Updates(model, updates), facts, weights=[0.75, 0.25], members=members)
    assert assembled(new, model)["w"][0] == 0.75 + 1.25
    new = next_model(config, Updates(model, updates), facts, members=members)
    assert assembled(new, model)["w"][0] == 3.0  # by examples
