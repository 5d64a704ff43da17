"""How many local epochs each client of a round does."""

from dataclasses import replace

import numpy as np
import pytest

from app.domain.local_work import (
    begun,
    elastic_epochs,
    handover_margin,
    planned_epochs,
    takes_partial,
    whole_seconds,
)
from app.domain.rounds import Participation
from app.domain.trainings import TrainingConfig
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.types import Candidate, Chosen, Plan, Selection, SelectionPolicy

NO_LINKS = Connectivity.from_edges((), [])
POLICY = SelectionPolicy(min_clients=1, max_clients=4, local_epochs=5, model_bytes=1_000_000)
CONFIG = TrainingConfig(name="t", hyperparameters={"local_epochs": 5})


def epochs(whole: int, transfers: list[float], fits: list[float]) -> list[int]:
    found: list[int] = elastic_epochs(whole, np.array(transfers), np.array(fits)).tolist()
    return found


def test_the_slowest_fifth_does_what_fits_into_the_time_of_the_others() -> None:
    # 2, 3, 4, 7 and 12 s: four of five are done after 7 s
    assert epochs(5, [1.0, 1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 3.0, 5.0, 10.0]) == [5, 5, 5, 5, 2]
    assert epochs(5, [0.0] * 10, [float(seconds) for seconds in range(1, 11)]) == [5] * 8 + [4, 4]
    assert epochs(5, [0.0, 0.0], [1.0, 2.0]) == [5, 2], "at least one of several does all epochs"
    assert epochs(5, [0.0, 0.0, 9.0], [1.0, 1.0, 1.0]) == [5, 5, 1], "a slow link leaves no time, but one epoch"
    assert epochs(10, [0.0] * 3, [1.0] * 3) == [10] * 3, "all are as fast"
    assert epochs(3, [0.0, 1.0, 1e9], [0.0, 0.0, 1e9]) == [3, 3, 1]
    assert epochs(1, [1.0], [2.0]) == [1]
    assert epochs(5, [1.0, 1.0, 1.0], [5e-324, 1.0, 9.0]) == [5, 5, 1], "whatever a client says of its time"


def client(name: str, seconds: float | None = None) -> Candidate:
    """A client whose transfers of 1 MB take 1 s each, and which claims to train 5 epochs of 20 samples in 0.15 s."""
    return Candidate(
        client_id=name,
        data_size=20,
        data_distribution=None,
        compute_capacity=1.0,
        bandwidth=8.0,
        latency=0.0,
        reliability=1.0,
        train_seconds=seconds,
    )


def planned(
    plan: Plan,
    *seen: Candidate,
    links: Connectivity = NO_LINKS,
    elastic: str = "abcdefr",
    policy: SelectionPolicy = POLICY,
) -> dict[str, int]:
    return planned_epochs(plan, Candidates.of(seen), links, policy, set(elastic))


def test_a_plan_says_only_who_does_less() -> None:
    plan = Plan("star", dict.fromkeys("abcd"))
    four = client("a", 1.0), client("b", 2.0), client("c", 5.0), client("d", 8.0)
    # 3, 4, 7 and 10 s with the transfers; of 7 s, 5 s are left to train for
    assert planned(plan, *four) == {"d": 3}
    assert planned(plan, *four, elastic="abc") == {}
    assert planned(plan, *four, policy=replace(POLICY, local_epochs=1)) == {}


def test_who_was_never_measured_takes_longer_than_it_claims_by_as_much_as_the_others() -> None:
    plan = Plan("star", dict.fromkeys("abc"))
    slow = replace(client("c"), data_size=80)  # claims 0.6 s
    assert planned(plan, client("a"), client("b"), slow) == {"c": 1}
    # a takes ten times as long as it claims, so c is expected to take 6 s; of 3.5 s, 1.5 s are left
    assert planned(plan, client("a", 1.5), client("b", 1.5), slow) == {"c": 1}
    assert planned(plan, client("a", 1.5), client("b", 1.5), replace(slow, data_size=25)) == {"c": 4}


def test_below_a_relay_the_way_is_longer_and_whoever_does_not_do_as_much_as_the_relay_is_told() -> None:
    plan = Plan("relay", {"r": None, "a": "r", "b": "r"} | dict.fromkeys("cdef"))
    links = Connectivity.from_edges(("a", "b", "c", "r"), [Edge("a", "r", 0.5), Edge("b", "r", 0.5)])
    seen = client("r", 8.0), client("a", 1.0), client("b", 5.0), *(client(name, 4.0) for name in "cdef")
    # r: 2 + 8, a: 3 + 1, b: 3 + 5, the others: 2 + 4 seconds; five of seven are done after 6
    assert planned(plan, *seen, links=links) == {"r": 2, "a": 5, "b": 3}
    assert planned(plan, *seen, links=links, elastic="acdefr") == {"r": 2, "a": 5, "b": 5}
    assert planned(plan, *seen, links=links, elastic="abcdef") == {}, "the relay may not know how to pass it on"


def test_links_that_take_for_ever_leave_time_for_one_epoch() -> None:
    plan = Plan("relay", {"r": None, "a": "r", "b": "r"})
    links = Connectivity.from_edges(("a", "b", "r"), [Edge("a", "r", 1e30), Edge("b", "r", 1e30)])
    seen = client("r", 1.0), client("a", 1.0), client("b", 1.0)
    assert planned(plan, *seen, links=links, policy=replace(POLICY, model_bytes=10**300)) == {"a": 1, "b": 1}


def test_participations_begin_with_their_epochs_and_times_count_as_if_for_all() -> None:
    chosen = [Chosen(client_id=name, score=1.0, marginal_cost=0.0, components={}) for name in "ab"]
    selection = Selection("random", tuple(chosen), (), 1.0, None, 1.0, 1.0, Plan("star", dict.fromkeys("ab")))
    a, b = begun(selection, {"b": 2})
    assert [(one.client_id, one.status, one.local_epochs) for one in (a, b)] == [
        ("a", "training", None),
        ("b", "training", 2),
    ]
    assert whole_seconds(3.0, a, CONFIG) == 3.0
    assert whole_seconds(3.0, b, CONFIG) == 7.5
    assert whole_seconds(3.0, Participation(client_id="c", local_epochs=5), CONFIG) == 3.0


def test_the_time_of_a_part_of_the_work_counts_as_if_for_all() -> None:
    part = Participation(client_id="c", num_steps=2, asked_steps=8)
    assert (part.share, replace(part, asked_steps=None).share) == (0.25, 1.0)
    assert whole_seconds(3.0, part, CONFIG) == 12.0
    assert whole_seconds(3.0, replace(part, local_epochs=2), CONFIG) == 30.0
    absurd = replace(part, num_steps=1, asked_steps=10**12)
    assert whole_seconds(1e9, absurd, CONFIG) == 1e21, "which only makes the client that claims it look slow"


def test_a_part_of_the_work_is_taken_by_means_without_relays_alone() -> None:
    assert takes_partial(TrainingConfig(name="t", aggregation="fednova"))
    assert not takes_partial(TrainingConfig(name="t", aggregation="krum"))
    assert not takes_partial(TrainingConfig(name="t", topology="relay"))


@pytest.mark.parametrize(
    ("seconds", "transfer", "margin"), [(100.0, 0.0, 10.0), (100.0, 5.0, 20.0), (6000.0, 5.0, 70.0), (1.0, 1e9, 0.5)]
)
def test_a_part_is_handed_over_so_early_that_it_can_travel(seconds: float, transfer: float, margin: float) -> None:
    assert handover_margin(seconds, transfer) == margin
