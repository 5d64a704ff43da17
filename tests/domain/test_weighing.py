"""The weights of a round's updates, by what is known of their clients' labels."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.domain.balance import balanced
from app.domain.rounds import Participation, Round
from app.domain.trainings import TrainingConfig
from app.domain.weighing import (
    AS_USUAL,
    BY_STALENESS,
    BY_STEPS,
    PARTIAL_TOO,
    STALE_TOO,
    UNKNOWN,
    believable_skew,
    discounted,
    weighed,
    weights_of,
)
from tcsfeel.selection.types import Candidate
from tests.store.samples import a_round
from tests.tcsfeel.worlds import candidates

BALANCED = TrainingConfig(name="t", aggregation="balanced")


def client(client_id: str, labels: list[float] | None, **fields: object) -> Candidate:
    return replace(candidates(1)[0], client_id=client_id, data_distribution=labels, **fields)  # type: ignore[arg-type]  # fields of a candidate


def received(**examples: int) -> Round:
    """A round with an update of each client, and with one client that failed."""
    parts = [Participation(client_id=name, status="received", num_examples=n) for name, n in examples.items()]
    return a_round(participations=(*parts, Participation(client_id="failed", status="failed")))


def weights(round_: Round) -> dict[str, float | None]:
    return {part.client_id: part.weight for part in round_.participations}


def test_an_update_of_rare_labels_weighs_more() -> None:
    # The fleet has even labels. Of three updates two are all of label 0, so the third one gets nearly a half.
    fleet = [client("a", [100, 0]), client("b", [100, 0]), client("c", [0, 100]), client("d", [0, 100])]
    round_ = weighed(received(c=100, b=100, a=100), BALANCED, fleet)
    skew = believable_skew(fleet)
    assert skew.tolist() == [[0.5, -0.5]] * 2 + [[-0.5, 0.5]] * 2
    a, b, c = balanced([100.0] * 3, skew[[0, 1, 2]])
    assert weights(round_) == {"a": pytest.approx(a), "b": pytest.approx(b), "c": pytest.approx(c), "failed": None}
    assert 0.48 < c < 0.5 > a == pytest.approx(b)
    assert round_.weighting == "balanced by the labels of 3 clients"
    assert weights_of(round_) == pytest.approx([a, b, c])


def test_what_the_weights_go_by_names_the_staleness_if_it_changed_them() -> None:
    fresh = received(a=100, b=100)
    parts = tuple(replace(part, staleness=int(part.client_id == "b")) for part in fresh.participations)
    fleet = [client("a", None), client("b", None)]
    round_ = weighed(replace(fresh, participations=parts), BALANCED, fleet)
    assert round_.weighting == UNKNOWN + STALE_TOO
    share = 1 / (1 + 2**0.5)
    assert weights(round_)["b"] == pytest.approx(share)
    assert weighed(fresh, BALANCED, fleet).weighting == UNKNOWN
    known = weighed(replace(fresh, participations=parts), BALANCED, [client("a", [1, 1]), client("b", [1, 1])])
    assert known.weighting == "balanced by the labels of 2 clients" + STALE_TOO


def test_a_training_says_how_far_weights_may_go() -> None:
    fleet = [client("a", [1, 0]), client("b", [1, 0]), client("c", [0, 1]), client("d", [0, 1])]
    plain = replace(BALANCED, hyperparameters={"server_balance_penalty": 1e6})
    assert weights(weighed(received(a=10, b=10, c=20), plain, fleet))["c"] == pytest.approx(0.5, abs=1e-4)
    less = replace(BALANCED, hyperparameters={"server_largest_multiple": 1.2})
    limited = weights(weighed(received(a=10, b=10, c=10), less, fleet))
    assert limited["c"] == pytest.approx(1.2 / 3.2)


def test_one_client_with_rare_labels_weighs_no_more_than_any_client_may() -> None:
    # Its 1 900 samples are 19 times the median, which is believed, so two thirds of the fleet's labels are rare ones.
    fleet = [client(f"c{number}", [1, 0]) for number in range(9)] + [client("rare", [0, 1], data_size=1900)]
    examples = {one.client_id: 10 for one in fleet}
    assert weights(weighed(received(**examples), BALANCED, fleet))["rare"] == pytest.approx(0.3)


@pytest.mark.parametrize(("others", "largest"), [(9, 0.3), (5, 0.5), (19, 0.3)])
def test_a_client_whose_labels_are_a_little_less_skewed_does_not_get_all_of_the_weight(
    others: int, largest: float
) -> None:
    # A half of the fleet is not in the round. All others have label 0 only, so balance alone would want none of them.
    fleet = [client(f"c{number}", [1, 0]) for number in range(others)] + [client("less", [6, 4])]
    absent = [client(f"d{number}", [0, 1]) for number in range(others)]
    found = weights(weighed(received(**{one.client_id: 10 for one in fleet}), BALANCED, [*fleet, *absent]))
    assert found["less"] == pytest.approx(largest)
    assert found["c0"] == found["c1"] == pytest.approx((1.0 - largest) / others)


def test_sketches_stand_for_labels_that_are_not_reported() -> None:
    one, other = (1.0, *[0.0] * 31), (-1.0, *[0.0] * 31)
    fleet = [client("a", None, sketch=one), client("b", None, sketch=one), client("c", None, sketch=other)]
    fleet += [client("d", None, sketch=other), client("e", None)]
    round_ = weighed(received(a=10, b=10, c=10, e=10), BALANCED, fleet)
    found = weights(round_)
    assert (found["a"] or 0) == found["b"]
    assert (found["a"] or 0) < (found["e"] or 0) < (found["c"] or 0)
    assert round_.weighting == "balanced by the sketches of 3 clients; nothing is known of 1 client"


def test_reported_labels_and_sketches_count_together() -> None:
    fleet = [client("a", [1, 0]), client("b", [0, 1]), client("c", None, sketch=(1.0, *[0.0] * 31))]
    text = weighed(received(a=1, b=1, c=1, gone=1), BALANCED, fleet).weighting
    assert text == ("balanced by the labels of 2 clients and the sketches of 1 client; nothing is known of 1 client")


@pytest.mark.parametrize("fleet", [[], [client("a", None), client("b", None)]])
def test_without_labels_the_weights_are_those_of_fedavg_and_the_round_says_so(fleet: list[Candidate]) -> None:
    round_ = weighed(received(a=10, b=30), BALANCED, fleet)
    assert weights(round_) == {"a": 0.25, "b": 0.75, "failed": None}
    assert round_.weighting == UNKNOWN


def test_a_claim_of_far_too_many_samples_does_not_decide_which_labels_the_fleet_has() -> None:
    fleet = [client(name, [1, 0]) for name in "abc"] + [client(name, [0, 1]) for name in "def"]
    honest = weighed(received(a=10, b=10, d=10), BALANCED, fleet)
    fleet[-1] = replace(fleet[-1], data_size=10**15)
    assert weights(weighed(received(a=10, b=10, d=10), BALANCED, fleet)) == pytest.approx(weights(honest))


def test_a_round_without_updates_stays_as_it_is() -> None:
    empty = received()
    assert weighed(empty, BALANCED, []) == empty
    assert weights_of(empty) is None
    assert weights_of(received(a=10, b=10)) is None
    half = [
        Participation(client_id=name, status="received", weight=weight) for name, weight in (("a", 0.5), ("b", None))
    ]
    assert weights_of(a_round(participations=tuple(half))) is None


def test_updates_in_the_mean_of_a_relay_keep_their_proportions() -> None:
    # Two thirds of the mean of r are of the first label, of which the fleet has a half.
    fleet = [client("r", [100, 0]), client("a", [0, 100]), client("c", [0, 100]), client("d", [100, 0])]
    parts = [
        Participation(client_id="r", status="received", num_examples=20),
        Participation(client_id="a", status="received", num_examples=10, relay="r"),
        Participation(client_id="c", status="received", num_examples=30),
    ]
    round_ = weighed(a_round(participations=tuple(parts)), BALANCED, fleet)
    found = {name: weight or 0.0 for name, weight in weights(round_).items()}
    assert found["r"] == pytest.approx(2 * found["a"])
    of_mean, of_c = balanced([30.0, 30.0], np.array([[1 / 6, -1 / 6], [-1 / 2, 1 / 2]]), 0.03 * 2 / 3)
    assert weights_of(round_) == pytest.approx([of_c, of_mean])
    assert of_mean > of_c


def test_a_client_below_a_relay_weighs_no_more_than_any_client_may() -> None:
    # The mean of c0 is the only one with rare labels, which are a half of the fleet's. Three quarters of it are of one.
    fleet = [client(f"c{number}", [1, 0]) for number in range(11)] + [client("rare", [0, 1])]
    absent = [client(f"d{number}", [0, 1]) for number in range(10)]
    parts = [Participation(client_id=one.client_id, status="received", num_examples=10) for one in fleet[:-1]]
    parts.append(Participation(client_id="rare", status="received", num_examples=30, relay="c0"))
    round_ = weighed(a_round(participations=tuple(parts)), BALANCED, [*fleet, *absent])
    found = {name: weight or 0.0 for name, weight in weights(round_).items()}
    assert found["rare"] == pytest.approx(3 * found["c0"])
    assert 0.29 < found["rare"] <= 0.3 + 1e-9
    of_mean = (weights_of(round_) or [])[0]
    assert of_mean * 30 / 40 == pytest.approx(found["rare"]), "which is its share of the model"


def stale(**staleness: int) -> Round:
    """A round with an update of each client, of ten examples, some of which are stale."""
    parts = [
        Participation(client_id=name, status="received", num_examples=10, staleness=old)
        for name, old in staleness.items()
    ]
    return a_round(participations=(*parts, Participation(client_id="failed", status="failed", staleness=1)))


def test_a_stale_update_weighs_less() -> None:
    round_ = discounted(stale(a=0, b=3), TrainingConfig(name="t"))
    assert weights(round_) == {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3), "failed": None}
    assert round_.weighting == AS_USUAL + BY_STALENESS
    assert weights_of(round_) == pytest.approx([2 / 3, 1 / 3])


def test_a_round_without_a_stale_update_is_weighed_as_usual() -> None:
    round_ = stale(a=0, b=0)
    assert discounted(round_, TrainingConfig(name="t")) is round_


def test_the_bounds_of_a_weight_hold_for_stale_updates() -> None:
    # One of four has at most a half of the weight.
    round_ = stale(a=0, b=10**8, c=10**8, d=10**8)
    assert weights(discounted(round_, TrainingConfig(name="t")))["a"] == pytest.approx(0.5)


def test_stale_updates_that_have_no_weight_at_all_are_left_to_the_aggregation() -> None:
    round_ = stale(a=0, b=1)
    round_ = replace(round_, participations=tuple(replace(one, num_examples=0) for one in round_.participations))
    assert discounted(round_, TrainingConfig(name="t")) is round_


def test_balanced_weights_start_from_those_of_stale_updates() -> None:
    fleet = [client("a", [50, 50]), client("b", [50, 50])]
    assert weights(weighed(stale(a=0, b=3), BALANCED, fleet))["a"] == pytest.approx(2 / 3)


def partial(**steps: tuple[int, int]) -> Round:
    """A round with an update of each client, of ten examples, with the steps that it took and that it was asked for."""
    parts = [
        Participation(
            client_id=name, status="received", num_examples=10, num_steps=took, asked_steps=None if took == of else of
        )
        for name, (took, of) in steps.items()
    ]
    return a_round(participations=tuple(parts))


def test_a_partial_update_weighs_as_much_as_the_share_of_its_steps() -> None:
    round_ = discounted(partial(a=(8, 8), b=(2, 8), c=(3, 4)), TrainingConfig(name="t"))
    assert weights(round_) == pytest.approx({"a": 1 / 2, "b": 0.25 / 2, "c": 0.75 / 2})
    assert round_.weighting == AS_USUAL + BY_STEPS


def test_the_share_of_a_partial_update_multiplies_with_its_staleness() -> None:
    round_ = partial(a=(8, 8), b=(4, 8))
    old = tuple(replace(part, staleness=3 * (part.client_id == "b")) for part in round_.participations)
    both = discounted(replace(round_, participations=old), TrainingConfig(name="t"))
    assert weights(both) == pytest.approx({"a": 4 / 5, "b": 1 / 5})  # 1 to 1/2 * 1/2
    assert both.weighting == AS_USUAL + BY_STALENESS + BY_STEPS


@pytest.mark.parametrize("rule", ["fednova", "scaffold"])
def test_a_rule_that_goes_by_steps_does_not_count_them_twice(rule: Any) -> None:
    round_ = partial(a=(8, 8), b=(2, 8))
    assert discounted(round_, TrainingConfig(name="t", aggregation=rule)) is round_


def test_balanced_weights_start_from_those_of_partial_updates() -> None:
    fleet = [client("a", None), client("b", None)]
    round_ = weighed(partial(a=(8, 8), b=(2, 8)), BALANCED, fleet)
    assert weights(round_) == pytest.approx({"a": 0.8, "b": 0.2})
    assert round_.weighting == UNKNOWN + PARTIAL_TOO


def test_no_number_of_steps_raises_the_weight_of_a_client() -> None:
    for took, of in [(1, 10**12), (1, 2), (10**12, 10**12)]:
        b = weights(discounted(partial(a=(8, 8), b=(took, of), c=(1, 2)), TrainingConfig(name="t")))["b"]
        assert b is not None
        assert 0 < b <= 1 / 2.5
