"""From a choice to what is shown of it."""

from collections.abc import Callable

import numpy as np
import pytest

from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection.costs import Budget
from tcsfeel.selection.report import report
from tcsfeel.selection.types import Candidate, Chosen, History, Plan, Selection, SelectionPolicy
from tcsfeel.selection.unselected import Phrase
from tests.tcsfeel.worlds import NO_LINKS, candidates, pool

# rounds of 2, 4, 6, 8 and 20 s
CLIENTS = candidates(5, server_cost=[1.0, 2.0, 3.0, 4.0, 10.0])
REASON = Phrase(("because of {:.0f}",), np.arange(5, dtype=np.float32))


def told(
    members: list[int],
    policy: SelectionPolicy,
    *,
    clients: list[Candidate] = CLIENTS,
    scores: list[float] | None = None,
    links: Connectivity = NO_LINKS,
    history: History | None = None,
    reason: Phrase | Callable[[int], str] = REASON,
) -> Selection:
    made = pool(clients, policy, links, history or History())
    shown = np.arange(len(clients), dtype=float)
    return report(
        "mine",
        made,
        members,
        budget=Budget.of(made),
        scores=np.array(scores or [0.0] * len(clients)),
        components={"number": shown, "half": shown / 2},
        reason=reason,
    )


def test_the_best_comes_first_and_of_equals_the_one_given_first() -> None:
    told_of = told([3, 2, 0, 1], SelectionPolicy(min_clients=1), scores=[0.5, 2.0, 0.5, 0.5, 9.0])

    assert told_of.strategy == "mine"
    assert told_of.selected == (
        Chosen("b", 2.0, {"number": 1.0, "half": 0.5}, 4.0),
        Chosen("a", 0.5, {"number": 0.0, "half": 0.0}, 2.0),
        Chosen("c", 0.5, {"number": 2.0, "half": 1.0}, 6.0),
        Chosen("d", 0.5, {"number": 3.0, "half": 1.5}, 8.0),
    )
    assert told_of.total_cost == 20


def test_who_does_not_fit_the_budget_is_told_so_and_others_the_strategys_reason() -> None:
    def reasons(members: list[int], most: int, limit: float | None) -> dict[str, str]:
        policy = SelectionPolicy(min_clients=1, max_clients=most, budget_constraint=limit)
        return {one.client_id: one.reason for one in told(members, policy).skipped}

    # a and b spend 6 of 12 s: c fits what is left exactly, d does not
    assert reasons([0, 1], 3, 12.0) == {
        "c": "because of 2",
        "d": "it would add 8 s to a budget of which 6 s is left",
        "e": "it would add 20 s to a budget of which 6 s is left",
    }
    # a full set could only swap, and then d would fit; e never does
    assert reasons([0, 1], 2, 12.0) == {
        "c": "because of 2",
        "d": "because of 3",
        "e": "it would add 20 s to a budget of which 6 s is left",
    }
    assert reasons([0, 1], 2, 20.0)["e"] == "because of 4", "a budget of its own cost"
    assert reasons([0, 1], 2, None)["e"] == "because of 4"


def test_a_strategy_may_say_why_by_a_function() -> None:
    policy = SelectionPolicy(min_clients=1, max_clients=3, budget_constraint=12.0)
    skipped = told([0, 1], policy, reason=lambda position: "{" * position).skipped
    assert [one.reason for one in skipped][:2] == ["{{", "it would add 8 s to a budget of which 6 s is left"]


def test_the_set_takes_as_long_as_its_slowest_member() -> None:
    # transfers of 2 s each
    clients = candidates(3, train_seconds=[5.0, 1.0, 9.0])

    assert told([0, 1], SelectionPolicy(min_clients=1), clients=clients).expected_seconds == 7


def test_labels_are_pooled_as_they_are_expected_to_arrive() -> None:
    # 100 * 0.5 of one label and 50 * 1 of the other; whom no one chose does not count
    clients = candidates(
        3, data_distribution=[[1, 0], [0, 1], [1, 0]], data_size=[100, 50, 50], reliability=[0.5, 1.0, 1.0]
    )

    divergence = told([0, 1], SelectionPolicy(min_clients=1), clients=clients).label_divergence

    # halves, against 3/4 and 1/4 of all
    assert divergence == pytest.approx(0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25))


def test_the_plan_names_parents() -> None:
    # b carries a and c; d has no links
    links = Connectivity.from_edges("abcd", [Edge("a", "b", 0.25), Edge("b", "c", 0.5)])
    policy = SelectionPolicy(min_clients=1, topology="relay")

    told_of = told([0, 1, 2, 3], policy, scores=[0, 1, 2, 3, 4], links=links)

    assert told_of.plan == Plan("relay", {"d": None, "c": "b", "b": None, "a": "b"})
    assert {one.client_id: one.marginal_cost for one in told_of.selected} == {"d": 8, "c": 1, "b": 4, "a": 0.5}
    assert told_of.total_cost == 13.5


def test_fairness_counts_this_round_in() -> None:
    # of three candidates b has taken part once and a, with this round, twice; x, who is gone, does not count
    history = History((frozenset("a"), frozenset("bx")))

    told_of = told([0], SelectionPolicy(min_clients=1), clients=candidates(3), history=history)

    assert told_of.fairness == pytest.approx((2 + 1) ** 2 / (3 * (4 + 1)))
