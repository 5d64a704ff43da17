"""What is believed of measurements, and when they reach a target."""

from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.summaries import MOST_SUMMARIES, Summary, TargetDoubt, summaries, target_doubt
from tcsfeel.aggregation import Goal, UpdateFacts
from tcsfeel.aggregation.config import AggregationConfig
from tests.depth import tries

CONFIG = AggregationConfig()
TARGET = Goal(target=0.963)


def fleet(*accuracies: float, examples: int = 100) -> dict[str, UpdateFacts]:
    return {
        f"c{number}": UpdateFacts(examples, 0.2, {"accuracy": accuracy}) for number, accuracy in enumerate(accuracies)
    }


def accuracy(*facts: UpdateFacts) -> float:
    return summaries(facts, CONFIG)["accuracy"].mean


def loss(*losses: float) -> float:
    return summaries([UpdateFacts(100, value) for value in losses], CONFIG)["loss"].mean


def doubted(measured: dict[str, UpdateFacts]) -> Any:
    found = target_doubt(measured, CONFIG, TARGET)
    return None if found is None else (found.client_id, found.mean)


@pytest.mark.parametrize("examples", [1, 100, 10**15])
@pytest.mark.parametrize("honest", [1, 2, 3, 5, 9, 10, 50])
def test_one_client_cannot_reach_the_target_for_the_others(honest: int, examples: int) -> None:
    measured = fleet(*[0.95] * honest) | {"liar": UpdateFacts(examples, -1e15, {"accuracy": 1.0})}
    mean = accuracy(*measured.values())
    doubt = doubted(measured)
    if honest >= 2 and mean >= 0.963:
        assert doubt == ("liar", pytest.approx(0.95))
    else:  # the mean does not reach it, or of two nobody can tell which is right
        assert doubt is None


def test_one_of_six_that_has_half_of_the_weight() -> None:
    measured = fleet(*[0.95] * 5) | {"liar": UpdateFacts(10**15, 0.2, {"accuracy": 1.0})}
    assert accuracy(*measured.values()) == pytest.approx(0.975)
    assert doubted(measured) == ("liar", pytest.approx(0.95))


def test_a_target_that_holds_without_any_one_is_reached() -> None:
    # 0.9675; without the best (0.97 + 0.96 + 0.96) / 3 = 0.9633
    measured = fleet(0.97, 0.96, 0.98, 0.96)
    assert accuracy(*measured.values()) == pytest.approx(0.9675)
    assert target_doubt(measured, CONFIG, TARGET) is None
    assert target_doubt(fleet(*[0.963] * 7), CONFIG, TARGET) is None  # to the bit


def test_the_client_that_lifts_the_mean_most_is_named_not_the_one_that_weighs_most() -> None:
    # (3 * 0.96 + 1.0 + 0.95) / 5 = 0.966; without c1 (3 * 0.96 + 0.95) / 4 = 0.9575
    measured = {
        "c0": UpdateFacts(300, 0.2, {"accuracy": 0.96}),
        "c1": UpdateFacts(100, 0.2, {"accuracy": 1.0}),
        "c2": UpdateFacts(100, 0.2, {"accuracy": 0.95}),
    }
    assert doubted(measured) == ("c1", pytest.approx(0.9575))


def test_how_much_a_client_lifts_the_mean_depends_on_the_weight_of_the_others() -> None:
    # The mean is 0.97. Without a it is (2 * 0.992 + 4 * 0.949) / 6 = 0.9633, without b (4 * 0.98 + 4 * 0.949) / 8.
    measured = {
        "a": UpdateFacts(400, 0.2, {"accuracy": 0.98}),
        "b": UpdateFacts(200, 0.2, {"accuracy": 0.992}),
        "c": UpdateFacts(400, 0.2, {"accuracy": 0.949}),
    }
    found = target_doubt(measured, CONFIG, Goal(target=0.965))
    assert found == TargetDoubt("a", pytest.approx(0.96 + 0.02 / 6))  # type: ignore[arg-type]  # approx


def test_who_measured_with_no_example_is_not_counted_and_who_did_with_one_is() -> None:
    two = fleet(0.95, 1.0) | {"c2": UpdateFacts(0, 0.2, {"accuracy": 0.95})}
    assert doubted(two) is None, "of two nobody can tell which is right"
    assert doubted(fleet(0.95, 1.0, 0.95, examples=1)) == ("c1", pytest.approx(0.95))


def test_what_clients_with_other_data_measure_stays_as_it_is() -> None:
    # The others agree to a thousandth, and yet 0.4 less, or more, is honest.
    for other in (0.56, 0.6, 0.961, 1.0):
        values = [0.96, 0.96, 0.961, 0.96, other]
        assert accuracy(*fleet(*values).values()) == pytest.approx(sum(values) / 5)
    # Where they differ, more: a deviation of 0.2 is a spread of 0.2965, and three times that is 0.8895.
    values = [0.1, 0.3, 0.5, 0.7, 1.0]
    assert accuracy(*fleet(*values).values()) == pytest.approx(sum(values) / 5)


def test_an_accuracy_is_believed_as_far_as_its_examples_let_chance_explain_it() -> None:
    honest = list(fleet(*[0.9] * 5).values())
    # 10^4 examples: half of the weight, and 0.4 below the others at least
    assert accuracy(*honest, UpdateFacts(10**4, 0.2, {"accuracy": 0.0})) == pytest.approx((0.9 + 0.5) / 2)
    # one example: p = 2.9 / 5 and 3 * sqrt(0.58 * 0.42) = 1.48 let it be 0, but it weighs as one
    assert accuracy(*honest, UpdateFacts(1, 0.2, {"accuracy": 0.0})) == pytest.approx(450 / 501)
    # 8 examples: p = 9.2 / 12, 3 * sqrt(0.76667 * 0.23333 / 8) = 0.44861, so 0.45139 of 8 in 508
    assert accuracy(*honest, UpdateFacts(8, 0.2, {"accuracy": 0.0})) == pytest.approx(
        (450 + 8 * 0.451387) / 508, abs=1e-6
    )


def test_a_loss_counts_as_ten_times_as_far_as_is_usual_at_most() -> None:
    # a median of 0.2, and the second farthest is 0.3 away: from -2.8 to 3.2
    assert loss(0.1, 0.2, 0.5, 0.2, -1e15) == pytest.approx((1.0 - 2.8) / 5)
    assert loss(0.1, 0.2, 0.5, 0.2, 1e15) == pytest.approx((1.0 + 3.2) / 5)
    assert loss(-5.0, -4.0, -6.0) == pytest.approx(-5.0)  # negative losses are some losses' own
    assert loss(0.0, 0.0, 0.0, 0.0, 0.9) == pytest.approx(0.18)  # nor does one that is alone above 0 vanish
    assert loss(0.0, 5e11) == pytest.approx(2.5e11)  # of two nobody can tell
    assert loss(0.2, 0.3, 1e15) == pytest.approx((0.2 + 0.3 + 3.3) / 3)  # of three the one that is far is told
    # of eight a quarter may be far: the third farthest is 0.5 away, so the two count as 5.5
    assert loss(0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 1e15, 1e15) == pytest.approx((2.5 + 1.0 + 5.5 + 5.5) / 8)


@tries(300)
@given(
    honest=st.lists(st.floats(0, 1), min_size=2, max_size=12),
    examples=st.integers(1, 10**15),
    claim=st.floats(0, 1),
    target=st.floats(0.01, 1),
)
def test_no_claim_of_one_client_reaches_what_the_others_do_not(
    honest: list[float], examples: int, claim: float, target: float
) -> None:
    """The others weigh the same here, and lie so close together that none of them is bounded."""
    close = [0.5 + value / 10 for value in honest]
    measured = fleet(*close) | {"liar": UpdateFacts(examples, 0.2, {"accuracy": claim})}
    goal = Goal(target=target)
    mean = summaries(measured.values(), CONFIG)["accuracy"].mean
    accepted = goal.reached(mean) and target_doubt(measured, CONFIG, goal) is None
    assert not accepted or sum(close) / len(close) >= target - 1e-12


def test_each_metric_is_summed_up_over_the_clients_that_measured_it() -> None:
    measured = [
        UpdateFacts(100, 4.0, {"rmse": 2.0, "mae": 1.0}),
        UpdateFacts(300, 1.0, {"rmse": 1.0}),
        UpdateFacts(100, 9.0, {"rmse": 3.0}),
        UpdateFacts(0, 7.0, {"rmse": 50.0}),  # of nothing
    ]
    found = summaries(measured, CONFIG)
    assert list(found) == ["loss", "mae", "rmse"]
    # of 500 examples, 100 have 2.0, 300 have 1.0, and 100 have 3.0
    assert astuple(found["rmse"]) == pytest.approx((1.6, 1.0, 1.0, 2.0, 3.0, 3.0, 3))
    assert found["mae"] == Summary(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)
    assert found["loss"].mean == pytest.approx((400 + 300 + 900) / 500)


def test_the_quartiles_are_values_of_clients_also_of_the_largest_numbers() -> None:
    largest = 1.7976931348623157e308
    measured = [UpdateFacts(1, loss) for loss in (-largest, -1.0, 0.0, largest)]
    found = summaries(measured, CONFIG)["loss"]
    assert (found.min, found.p25, found.p50, found.p75, found.max) == (-largest, -largest, -1.0, 0.0, largest)


def test_of_nothing_nothing_is_measured() -> None:
    assert summaries([], CONFIG) == {}
    assert summaries([UpdateFacts(0, 1.0, {"accuracy": 0.5})], CONFIG) == {}


def test_metrics_that_few_clients_measure_are_left_out_where_there_are_too_many() -> None:
    """A client may invent names; the ones that the others share must not be pushed out by them."""
    honest = [UpdateFacts(10, 1.0, {"zebra": 0.5})] * 2
    inventors = [UpdateFacts(10, 1.0, {f"m{client}.{number}": 1.0 for number in range(32)}) for client in range(4)]
    found = summaries([*honest, *inventors], CONFIG)
    assert len(found) == MOST_SUMMARIES
    assert {"loss", "zebra"} <= found.keys()


def test_a_goal_to_fall_is_doubted_where_one_client_alone_pulls_it_down() -> None:
    goal = Goal(metric="rmse", mode="min", target=0.5)
    honest = {f"c{number}": UpdateFacts(100, 1.0, {"rmse": 0.6}) for number in range(4)}
    liar = {"liar": UpdateFacts(400, 1.0, {"rmse": 0.0})}
    assert summaries((honest | liar).values(), CONFIG)["rmse"].mean == pytest.approx(0.3)
    assert target_doubt(honest | liar, CONFIG, goal) == TargetDoubt("liar", 0.6)
    good = {client: UpdateFacts(100, 1.0, {"rmse": 0.4}) for client in honest}
    assert target_doubt(good, CONFIG, goal) is None


def test_clients_that_did_not_measure_the_goal_do_not_count_for_it() -> None:
    goal = Goal(metric="rmse", mode="min", target=0.5)
    measured = fleet(0.9, 0.9, 0.9) | {"c9": UpdateFacts(100, 1.0, {"rmse": 0.1})}
    assert target_doubt(measured, CONFIG, goal) is None, "of one nobody can tell"
    assert summaries(measured.values(), CONFIG)["rmse"].clients == 1
