"""How much one client may weigh, and means that stay within what was said."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.summaries import summaries
from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import UpdateFacts
from tcsfeel.aggregation.weights import bounded, mean_of, usual_share
from tests.depth import tries

CONFIG = TrainingConfig(name="t")
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def config(**hyperparameters: float) -> TrainingConfig:
    return TrainingConfig(name="t", hyperparameters=hyperparameters)


@pytest.mark.parametrize(
    "weights",
    [
        [], [0.0], [3.0], [0.0, 0.0], [10.0, 30.0], [1.0, 10.0, 10.0], [1.0, 1.0, 1.0, 3.0],
        [5.0, 150.0, 30.0, 40.0, 20.0, 60.0, 80.0, 35.0, 33.0, 90.0],
    ],
)  # fmt: skip
def test_weights_within_the_usual_stay_as_they_are(weights: list[float]) -> None:
    assert bounded(weights, CONFIG) == weights


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ([1e12, 100.0], [1000.0, 100.0]),  # ten times the lower one
        ([1e12, 0.0, 100.0], [1000.0, 0.0, 100.0]),  # what weighs nothing says nothing of what is usual
        ([2.0, 1e12, 3.0], [2.0, 30.0, 3.0]),
        ([100.0, 10.0, 10.0, 10.0], [30.0, 10.0, 10.0, 10.0]),  # half of 60
        ([1e12, *[10.0] * 9], [90 * 0.3 / 0.7, *[10.0] * 9]),  # 0.3 of 90 / 0.7
        # of twelve 0.3: with two cut off at t, t = 0.3 * (2 t + 10)
        ([1e12, 1e12, *[1.0] * 10], [7.5, 7.5, *[1.0] * 10]),
    ],
)
def test_one_claim_weighs_no_more_than_is_usual(weights: list[float], wanted: list[float]) -> None:
    assert bounded(weights, CONFIG) == pytest.approx(wanted)


def test_the_usual_share_is_three_even_ones_but_half_at_most_and_three_tenths_at_least() -> None:
    shares = [usual_share(count) for count in (1, 3, 4, 6, 8, 10, 20)]
    assert shares == [1.0, 1.0, 0.5, 0.5, 0.375, 0.3, 0.3]


def test_weights_become_equal_where_none_may_have_more_than_an_even_share() -> None:
    # the last one is too small for the sum to show it, so the others share the whole
    assert bounded([7.0, 6.0, 5.0, 1e-20], config(server_largest_share=1 / 3)) == [5.0, 5.0, 5.0, 1e-20]


def test_a_training_may_bound_more_or_less() -> None:
    weights = [1e9, 1.0, 1.0, 1.0]
    assert bounded(weights, config(server_largest_multiple=1e12, server_largest_share=1.0)) == weights
    assert bounded(weights, config(server_largest_multiple=2.0, server_largest_share=1.0)) == [2.0, 1.0, 1.0, 1.0]
    assert bounded([4.0, 2.0, 1.0], config(server_largest_share=0.01)) == [1.0, 1.0, 1.0]  # equal is the least


@tries(300)
@given(
    weights=st.lists(st.floats(0, 1e13), min_size=1, max_size=12),
    share=st.none() | st.floats(0.01, 1),
    multiple=st.none() | st.floats(1, 1e12),
)
def test_no_share_is_too_large_and_the_order_stays(
    weights: list[float], share: float | None, multiple: float | None
) -> None:
    given_ = {"server_largest_share": share, "server_largest_multiple": multiple}
    found = bounded(weights, config(**{name: value for name, value in given_.items() if value is not None}))
    assert all(0 <= after <= before for after, before in zip(found, weights, strict=True))
    assert [weight > 0 for weight in found] == [weight > 0 for weight in weights]
    for (one, one_before), (other, other_before) in zip(
        zip(found, weights, strict=True), sorted(zip(found, weights, strict=True)), strict=True
    ):
        assert (one <= other) if one_before < other_before else (one >= other)
    counting = sum(weight > 0 for weight in found)
    if counting:
        most = share if share is not None else 1.0 if counting < 4 else 0.5
        assert max(found) <= max(most, 1 / counting) * math.fsum(found) * (1 + 1e-9)


def means(measured: list[UpdateFacts]) -> tuple[float, float]:
    found = summaries(measured, CONFIG)
    return found["accuracy"].mean, found["loss"].mean


def test_ten_evaluators_of_which_one_claims_everything() -> None:
    # nine say 0.1 of 100 examples each, the liar 0.999999 of 10^12, which counts as 0.5: 0.3 * 0.5 + 0.7 * 0.1
    measured = [UpdateFacts(100, 2.0, {"accuracy": 0.1})] * 9 + [UpdateFacts(10**12, 0.0, {"accuracy": 0.999999})]
    assert means(measured) == pytest.approx((0.22, 1.4))


def test_what_clients_measured_counts_by_their_examples() -> None:
    # accuracy (10 * 0.5 + 30 * 0.9) / 40 = 0.8, loss (10 * 2 + 30 * 1) / 40 = 1.25
    measured = [UpdateFacts(10, 2.0, {"accuracy": 0.5}), UpdateFacts(30, 1.0, {"accuracy": 0.9})]
    assert means(measured) == pytest.approx((0.8, 1.25))


@tries(300)
@given(
    measured=st.lists(
        st.builds(
            UpdateFacts,
            num_examples=st.integers(1, 10**15),
            loss=FINITE,
            metrics=st.fixed_dictionaries({"accuracy": st.floats(0, 1), "mape": FINITE}),
        ),
        min_size=1,
    )
)
def test_a_mean_of_measurements_lies_between_them_over_the_whole_range_of_numbers(measured: list[UpdateFacts]) -> None:
    for summary in summaries(measured, CONFIG).values():
        assert summary.min <= summary.mean <= summary.max
        assert summary.min <= summary.p25 <= summary.p50 <= summary.p75 <= summary.max


def test_the_largest_numbers_have_a_mean() -> None:
    largest = 1.7976931348623157e308
    assert mean_of([largest, largest], [1.0, 1.0]) == largest
    assert mean_of([largest, -largest], [1.0, 1.0]) == 0.0
    assert mean_of([5e-324, 5e-324], [1e15, 1.0]) == 5e-324
