"""A round's candidates as arrays, within the range where nothing overflows."""

from dataclasses import replace

from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection.links import Relays, Star
from tcsfeel.selection.pool import MAX_SECONDS, MIN_RELIABILITY
from tcsfeel.selection.sketches import SIZE
from tcsfeel.selection.skew import MIN_SAMPLES
from tcsfeel.selection.types import History, SelectionPolicy
from tests.tcsfeel.worlds import candidates, pool


def test_candidates_are_named_in_the_order_given_or_asked_for() -> None:
    made = pool(candidates(3))

    assert made.ids() == ("a", "b", "c")
    assert made.ids([2, 0]) == ("c", "a")
    assert made.ids([]) == ()


def test_costs_and_seconds_are_capped() -> None:
    # 2e300 s both ways; 1 + 1 s of transfers beside a fit of 1e300 s; both
    made = pool(candidates(3, server_cost=[1e300, 1.0, 1e300], train_seconds=[0.0, 1e300, 1e300]))

    assert made.costs.tolist() == [MAX_SECONDS, 2.0, MAX_SECONDS]
    assert made.seconds.tolist() == [MAX_SECONDS, MAX_SECONDS, MAX_SECONDS]


def test_reliability_is_never_hopeless() -> None:
    assert pool(candidates(3, reliability=[0.0, 0.5, 1.0])).reliability.tolist() == [MIN_RELIABILITY, 0.5, 1.0]


def test_samples_are_relative_to_the_largest() -> None:
    assert pool(candidates(3, data_size=[50, 200, 100])).samples.tolist() == [0.25, 1.0, 0.5]
    assert pool(candidates(2, data_size=[1, 10**18])).samples.tolist() == [MIN_SAMPLES, 1.0]


def test_links_are_those_that_the_policy_lets_updates_travel_over() -> None:
    # of 2 MB both ways: 2 and 4 s/MB are 8 and 16 s; d has no links but one to e, who is no candidate
    connectivity = Connectivity.from_edges("abcde", [Edge("a", "c", 2.0), Edge("b", "c", 4.0), Edge("d", "e", 1.0)])
    policy = SelectionPolicy(min_clients=1, model_bytes=2_000_000)

    assert isinstance(pool(candidates(4), policy, connectivity).links, Star)
    made = pool(candidates(4), replace(policy, topology="relay"), connectivity).links
    assert isinstance(made, Relays)
    assert made.between.toarray().tolist() == [[0, 0, 8, 0], [0, 0, 16, 0], [8, 16, 0, 0], [0, 0, 0, 0]]
    assert made.server.tolist() == [4, 4, 4, 4]
    assert made.reliability.tolist() == [1, 1, 1, 1]


def test_skew_has_the_labels_that_clients_report_and_beside_them_the_sketches_of_the_others() -> None:
    reported, sketched = [[3.0, 1.0], [1.0, 3.0], None], [None, None, (1.0,) * SIZE]

    labels = pool(candidates(3, data_distribution=reported))
    assert labels.skew.tolist() == labels.labels.skew.tolist()
    assert labels.skew.shape == (3, 2)
    sketches = pool(candidates(3, sketch=[(1.0,) * SIZE, (3.0,) * SIZE, None]))
    assert sketches.skew[:, -SIZE:].tolist() == [[-1.0] * SIZE, [1.0] * SIZE, [0.0] * SIZE]
    assert not sketches.skew[:, :-SIZE].any()
    both = pool(candidates(3, data_distribution=reported, sketch=sketched))
    assert both.skew.shape == (3, 2 + SIZE)
    assert both.skew[:, :2].tolist() == labels.skew.tolist()


def test_an_overdue_client_of_which_nothing_is_known_is_more_urgent() -> None:
    # one round of d alone: the others are owed a quarter, and c, of which nothing is known, gets 8 / 16 more
    history = History(rounds=(frozenset("d"),))
    known = candidates(4, data_distribution=[[1.0, 3.0], None, None, None], sketch=[None, (1.0,) * SIZE, None, None])

    assert pool(known, history=history).urgency.tolist() == [0.25, 0.25, 0.75, -0.75]
    unknown = pool(candidates(4), history=history)
    assert unknown.urgency.tolist() == unknown.debt.tolist() == [0.25, 0.25, 0.25, -0.75]
