"""No client is selected much more often than its share of the places, whatever it claims."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import STRATEGIES, Candidate, History, SelectionPolicy, select
from tcsfeel.selection.claims import believed
from tcsfeel.selection.fairness import evenness
from tcsfeel.selection.frequency import FAIR, too_frequent
from tcsfeel.selection.registry import BLIND
from tests.tcsfeel.worlds import (
    NO_LINKS,
    any_candidates,
    any_history,
    candidates,
    skewed,
)

LOOKING = sorted(STRATEGIES.keys() - BLIND)
ONE = SelectionPolicy(min_clients=1, max_clients=1)
TWO = SelectionPolicy(min_clients=2, max_clients=2)


def liar(fleet: list[Candidate], *, also_fast: bool) -> Candidate:
    """A client that claims even labels, and 19 times what is usual."""
    usual = replace(
        fleet[0],
        client_id="liar",
        data_size=19 * sorted(one.data_size for one in fleet)[len(fleet) // 2],
        data_distribution=[1.0] * 10,
        reliability=1.0,
    )
    if not also_fast:
        return usual
    middle = {
        name: sorted(getattr(one, name) for one in fleet)[len(fleet) // 2]
        for name in ("compute_capacity", "bandwidth", "latency")
    }
    return replace(
        usual,
        compute_capacity=19 * middle["compute_capacity"],
        bandwidth=19 * middle["bandwidth"],
        latency=middle["latency"] / 19,
    )


def rounds_of(name: str, fleet: list[Candidate], rounds: int, policy: SelectionPolicy) -> tuple[frozenset[str], ...]:
    """The clients of each round; the last client of the fleet reports the highest loss."""
    history = History()
    for number in range(rounds):
        tried = frozenset[str]().union(*history.rounds)
        worst = fleet[-1].client_id
        seen = [
            replace(one, loss=(1e15 if one.client_id == worst else 1.0) if one.client_id in tried else None)
            for one in fleet
        ]
        chosen = select(name, seen, Connectivity.empty(), history, policy, np.random.default_rng(number)).client_ids
        history = History((*history.rounds, frozenset(chosen)))
    return history.rounds


@pytest.mark.untraced
@pytest.mark.parametrize("name", LOOKING)
@pytest.mark.parametrize(("others", "places"), [(20, 4), (49, 10)])
@pytest.mark.parametrize("also_fast", [False, True])
def test_a_client_with_claims_that_can_just_be_believed_is_in_two_fifths_of_the_rounds(
    name: str, others: int, places: int, *, also_fast: bool
) -> None:
    fleet = skewed(others, seed=3)
    fleet.append(liar(fleet, also_fast=also_fast))
    policy = SelectionPolicy(min_clients=places, max_clients=places)
    counts = Counter(client_id for chosen in rounds_of(name, fleet, 40, policy) for client_id in chosen)
    assert sum(counts.values()) == 40 * places
    assert counts["liar"] <= 17  # fair are 40 * 4 / 21 = 7.6 and 40 * 10 / 50 = 8
    assert max(counts.values()) <= 17


def test_without_a_limit_it_is_in_every_round() -> None:
    fleet = skewed(20, seed=3)
    fleet.append(liar(fleet, also_fast=False))
    unlimited = SelectionPolicy(min_clients=4, max_clients=4, largest_multiple=None)
    assert sum("liar" in chosen for chosen in rounds_of("tcs-feel", fleet, 40, unlimited)) == 40


def test_the_rounds_that_gave_away_four_places_for_each_client_are_counted() -> None:
    # 5 clients, one place in a round: 4 * 5 places are the last 19 rounds and the next one, and 2 * 4 are the limit
    fleet = "abcde"
    before = (frozenset("b"),) * 11
    seven, eight = (frozenset("a"),) * 7, (frozenset("a"),) * 8
    assert too_frequent(fleet, History(before + seven), ONE) == {"b": reason(11, 18)}
    assert too_frequent(fleet, History(before + eight), ONE) == {"a": reason(8, 19), "b": reason(11, 19)}
    later = (frozenset("c"),) * 4 + (frozenset("d"),) * 4 + (frozenset("e"),) * 3
    assert too_frequent(fleet, History(eight + later), ONE) == {"a": reason(8, 19)}
    assert too_frequent(fleet, History((*eight, *later, frozenset("e"))), ONE) == {}


def reason(times: int, rounds: int) -> str:
    return f"it was selected in {times} of the last {rounds} rounds, and its share of the places allows no more than 8"


def test_nothing_changes_where_half_of_the_clients_take_part() -> None:
    always = (frozenset("ab"),) * 100
    assert too_frequent("abcd", History(always), TWO) == {}  # 4 * 4 places: 7 rounds and the next
    assert set(too_frequent("abcde", History(always), TWO)) == {"a", "b"}  # 4 * 5: 9 rounds and the next


@pytest.mark.parametrize(("multiple", "limit"), [(1.0, 4), (1.5, 6), (1.74, 6), (2.25, 9), (1e300, None), (None, None)])
def test_the_multiple_can_be_chosen(multiple: float | None, limit: int | None) -> None:
    policy = replace(ONE, largest_multiple=multiple)
    least = next(
        (times for times in range(20) if too_frequent("abcde", History((frozenset("a"),) * times), policy)), None
    )
    assert least == limit


@settings(deadline=None)
@given(any_history(), st.integers(1, 10), st.integers(1, 10), st.floats(1, 1e6))
def test_so_few_wait_that_others_are_left(history: History, clients: int, places: int, multiple: float) -> None:
    fleet = "abcdefghij"[:clients]
    policy = SelectionPolicy(min_clients=places, max_clients=places, largest_multiple=multiple)
    waiting = too_frequent(fleet, history, policy)
    assert len(waiting) <= FAIR * clients / (FAIR * multiple // 1)
    assert waiting.keys() <= set(fleet)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=120), st.floats(1, 4), st.integers(1, 10))
def test_no_client_is_above_its_limit_in_any_of_the_windows(draws: list[int], multiple: float, places: int) -> None:
    fleet, history = "abcdefghij", History()
    policy = SelectionPolicy(min_clients=places, max_clients=places, largest_multiple=multiple)
    limit = int(FAIR * multiple + 1e-9)
    for draw in draws:
        waiting = too_frequent(fleet, history, policy)
        preferred = [one for one in fleet[draw:] + fleet[:draw] if one not in waiting]
        yielded = len(preferred) < places
        chosen = frozenset((preferred if not yielded else fleet)[:places])
        history = History((*history.rounds, chosen))
        window = history.rounds[-(FAIR * len(fleet) // places) :]
        counts = Counter(client_id for past in window for client_id in past)
        assert yielded or max(counts[client_id] for client_id in chosen) <= limit


@settings(deadline=None)
@given(any_candidates(), any_history(), st.sampled_from(sorted(STRATEGIES)), st.floats(1, 4))
def test_every_round_that_could_be_planned_without_the_limit_is_planned(
    fleet: list[Candidate], history: History, name: str, multiple: float
) -> None:
    policy = SelectionPolicy(min_clients=1, max_clients=len(fleet), largest_multiple=multiple)
    again = [select(name, fleet, NO_LINKS, history, policy, np.random.default_rng(7)) for _ in range(2)]
    assert again[0] == again[1]
    selection = again[0]
    named = [*selection.client_ids, *(one.client_id for one in selection.skipped)]
    assert sorted(named) == sorted(one.client_id for one in fleet)
    assert selection.fairness == evenness([one.client_id for one in fleet], history, selection.client_ids)


@settings(deadline=None, max_examples=20)
@given(any_candidates(), st.sampled_from(LOOKING), st.sampled_from([1.0, 1.5, 2.0]))
def test_whatever_is_claimed_nobody_is_above_the_limit_while_others_can_be_selected(
    fleet: list[Candidate], name: str, multiple: float
) -> None:
    ids = [one.client_id for one in fleet]
    policy = replace(ONE, largest_multiple=multiple)
    history = History()
    for number in range(20):
        frequent = too_frequent(ids, history, policy)
        waiting = believed(fleet, history, policy).reasons()
        rng = np.random.default_rng(number)
        (chosen,) = select(name, fleet, NO_LINKS, history, policy, rng).client_ids
        assert chosen not in frequent or frequent.keys() | waiting.keys() == set(ids)
        history = History((*history.rounds, frozenset({chosen})))


def test_a_selection_says_why_a_client_waits() -> None:
    history = History((frozenset("a"),) * 8)
    selection = select("documented", candidates(5), NO_LINKS, history, ONE, np.random.default_rng(1))
    reasons = {one.client_id: one.reason for one in selection.skipped}
    assert reasons["a"] == reason(8, 8)
    assert selection.fairness == (8 + 1) ** 2 / (5 * (64 + 1))


def test_random_selection_looks_at_no_claims_and_so_has_no_limit() -> None:
    history = History((frozenset("a"),) * 8)
    chosen = [
        select("random", candidates(5), NO_LINKS, history, ONE, np.random.default_rng(seed)).client_ids
        for seed in range(40)
    ]
    assert ("a",) in chosen


def test_the_limit_yields_where_only_a_frequent_client_fits_into_the_budget() -> None:
    fleet = candidates(5, bandwidth=[16.0, 8.0, 8.0, 8.0, 8.0])  # 1 s of link time, and 2 s
    policy = replace(ONE, budget_constraint=1.5)
    history = History((frozenset("a"),) * 30)
    assert select("tcs-feel", fleet, NO_LINKS, history, policy, np.random.default_rng(1)).client_ids == ("a",)


def test_the_limit_yields_before_implausible_claims_are_believed() -> None:
    fleet = candidates(6, data_size=[100, 100, 100, 100, 100, 10**9])
    history = History((frozenset("af"),) * 12)
    policy = SelectionPolicy(min_clients=5, max_clients=5)
    assert set(too_frequent("abcdef", history, policy)) == {"a", "f"}
    selection = select("tcs-feel", fleet, NO_LINKS, history, policy, np.random.default_rng(1))
    assert set(selection.client_ids) == set("abcde")
    (skipped,) = selection.skipped
    assert skipped.client_id == "f"
    assert skipped.reason.startswith("its claims are implausible")


def test_places_of_clients_that_left_count_too() -> None:
    # of 4 * 10 places, those that left had 20 and one candidate had 8
    history = History((*(frozenset("x"),) * 20, *(frozenset("a"),) * 8))
    assert set(too_frequent("abcdefghij", history, ONE)) == {"a"}
    # and with one more, the first of the 8 rounds of the candidate is not looked at any more
    history = History((*(frozenset("a"),) * 8, *(frozenset("x"),) * 32))
    assert too_frequent("abcdefghij", history, ONE) == {}
