"""Oort: utilities by hand, who explores, and who can be drawn."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import Candidate, History, Selection, SelectionPolicy, select
from tcsfeel.selection.oort import Utilities, by_cut_off, exploration
from tests.tcsfeel.worlds import candidates, pool

LONG_AGO = 200  # rounds, after which a fifth of the places explores


def utilities(clients: Sequence[Candidate], *rounds: str, percentile: float = 100.0) -> Utilities:
    policy = SelectionPolicy(min_clients=1, parameters={"preferred_percentile": percentile})
    return Utilities(pool(clients, policy, history=History(tuple(frozenset(names) for names in rounds))))


def choose(clients: list[Candidate], slots: int, seed: int = 0, rounds: int = 0, percentile: float = 100) -> Selection:
    policy = SelectionPolicy(min_clients=slots, max_clients=slots, parameters={"preferred_percentile": percentile})
    history = History((frozenset(),) * rounds)
    return select("oort", clients, Connectivity.empty(), history, policy, np.random.default_rng(seed))


def test_utility_is_samples_times_loss_over_the_clip() -> None:
    found = utilities(candidates(3, data_size=[100, 50, 100], loss=[1.0, 1.0, None]))

    clip = 0.5 + 0.95 * (1 - 0.5)  # the 95th percentile of 1 and 1/2, which the first exceeds
    assert found.tried.tolist() == [True, True, False]
    assert found.statistical.tolist() == pytest.approx([1, 0.5 / clip, 0])
    assert found.total.tolist() == pytest.approx([1, 0.5 / clip, 0])


def test_one_outlier_does_not_outshine_the_others() -> None:
    found = utilities(candidates(10, loss=[1e6, *[1.0] * 9]), percentile=100)
    # The 95th percentile lies 0.55 of the way from the second largest to the largest.
    assert found.statistical[0] / found.statistical[1] == pytest.approx(1 + 0.55 * (1e6 - 1))


def test_losses_below_zero_promise_nothing() -> None:
    assert utilities(candidates(2, loss=[-1.0, -2.0])).total.tolist() == [0, 0]
    assert utilities(candidates(2, loss=[-1.0, 2.0])).statistical.tolist() == [0, 1]


def test_staleness_grows_with_the_rounds_since_the_last_part() -> None:
    found = utilities(candidates(3, loss=[1.0, 1.0, None]), "ab", "a", "a")

    assert found.staleness.tolist() == pytest.approx(
        [math.sqrt(0.1 * math.log(4) / 3), math.sqrt(0.1 * math.log(4) / 1), 0]
    )
    assert found.total[:2].tolist() == pytest.approx((1 + found.staleness[:2]).tolist())


def test_who_was_tried_but_is_in_no_round_counts_from_the_first() -> None:
    found = utilities(candidates(2, loss=[1.0, 1.0]), "b", "")

    assert found.staleness.tolist() == pytest.approx([math.sqrt(0.1 * math.log(3) / 1)] * 2)


def test_the_slow_are_penalised_by_the_square_and_the_fast_not_rewarded() -> None:
    # Transfers take 2 s: durations of 4, 6 and 18 s, of which 6 s is the median.
    clients = candidates(3, train_seconds=[2.0, 4.0, 16.0], loss=[1.0, 1.0, 1.0])

    assert utilities(clients, percentile=50).total.tolist() == pytest.approx([1, 1, 1 / 9])
    assert utilities(clients, percentile=0).total.tolist() == pytest.approx([1, 4 / 9, (4 / 18) ** 2])
    assert utilities(clients, percentile=100).total.tolist() == [1, 1, 1]


def test_exploration_decays_to_a_fifth() -> None:
    assert exploration(1) == pytest.approx(0.9)
    assert exploration(3) == pytest.approx(0.9 * 0.98**2)
    assert exploration(75) > 0.2
    assert exploration(76) == 0.2  # 0.9 * 0.98^75 is 0.198


@pytest.mark.parametrize(("rounds", "explored"), [(0, 9), (29, 6), (LONG_AGO, 2)])  # 0.9 * 0.98^29 is 0.501
def test_a_share_of_the_places_goes_to_the_untried(rounds: int, explored: int) -> None:
    clients = [*candidates(10, loss=[1.0] * 10)]
    clients += [replace(client, client_id=f"new-{client.client_id}") for client in candidates(10)]
    for seed in range(5):
        chosen = choose(clients, 10, seed, rounds)
        assert sum(name.startswith("new") for name in chosen.client_ids) == explored


def test_the_tried_fill_the_places_that_the_untried_leave_and_the_reverse() -> None:
    one_new = candidates(5, loss=[1.0, 1.0, 1.0, 1.0, None])
    assert "e" in choose(one_new, 3).client_ids  # three could explore, one is untried
    one_tried = candidates(5, loss=[1.0, None, None, None, None])
    assert "a" in choose(one_tried, 5, rounds=LONG_AGO).client_ids
    assert len(choose(candidates(5), 5, rounds=LONG_AGO).selected) == 5


def test_candidates_below_the_cut_off_are_kept_for_later() -> None:
    # The last of two places has utility 0.5 / clip: 95 % of it is 0.475 / clip.
    found = utilities(candidates(5, loss=[0.1, 0.5, 0.47, 1.0, 0.48]))

    for places, admitted in ((1, [3]), (2, [3, 1, 4]), (3, [3, 1, 4, 2]), (5, [3, 1, 4, 2, 0]), (9, [3, 1, 4, 2, 0])):
        drawable, others = by_cut_off(found, places)
        assert drawable.tolist() == admitted
        assert [*drawable.tolist(), *others.tolist()] == [3, 1, 4, 2, 0]
    assert [part.tolist() for part in by_cut_off(found, 0)] == [[], [3, 1, 4, 2, 0]]


def test_a_utility_at_the_cut_off_is_enough() -> None:
    found = utilities(candidates(10, loss=[*[1.0] * 9, 0.95]))  # the 95th percentile is 1

    assert by_cut_off(found, 1)[0].tolist() == list(range(10))
    assert by_cut_off(found, 1)[1].tolist() == []


def test_of_equal_utilities_the_first_given_ranks_first() -> None:
    clients = [replace(client, client_id=f"c{row}") for row, client in enumerate(candidates(2, loss=[0.1, 1.0]) * 20)]

    drawable, others = by_cut_off(utilities(clients), 3)

    assert drawable.tolist() == list(range(1, 40, 2))
    assert others.tolist() == list(range(0, 40, 2))


def test_the_score_is_made_of_the_shown_components() -> None:
    clients = candidates(4, loss=[1.0, 0.5, 2.0, None], train_seconds=[1.0, 9.0, 4.0, 2.0])

    for one in choose(clients, 4, rounds=3, percentile=50).selected:
        shown = one.components
        assert one.score == pytest.approx((shown["utility"] + shown["staleness"]) * shown["speed"])


@pytest.mark.untraced
def test_exploited_places_are_drawn_in_proportion_to_utility() -> None:
    clients = candidates(5, loss=[1.0, 0.5, 0.48, 0.47, 0.1])
    found = utilities(clients, *[""] * LONG_AGO)
    weights = found.total[:4] / found.total[:4].sum()
    assert by_cut_off(found, 2)[0].tolist() == [0, 1, 2, 3]  # with the bonus that all have

    counts = Counter(name for seed in range(1000) for name in choose(clients, 2, seed, LONG_AGO).client_ids)

    for place, name in enumerate("abcd"):  # drawn first, or second after another
        others = np.delete(weights, place)
        expected = weights[place] * (1 + (others / (1 - others)).sum())
        assert counts[name] / 1000 == pytest.approx(expected, abs=0.063)  # 4 standard deviations; a: 0.59
    assert counts["e"] == 0


@pytest.mark.untraced
def test_the_untried_are_drawn_by_speed() -> None:
    clients = candidates(3, train_seconds=[0.0, 2.0, 6.0])  # durations of 2, 4 and 8 s
    counts = Counter(choose(clients, 1, seed).client_ids[0] for seed in range(1000))

    for name, share in zip("abc", (4 / 7, 2 / 7, 1 / 7), strict=True):
        assert counts[name] / 1000 == pytest.approx(share, abs=0.063)


def test_each_skipped_client_is_told_why() -> None:
    tried = candidates(3, loss=[1.0, 1.0, 0.1])
    untried = [replace(tried[0], client_id=name, loss=None) for name in "xyz"]

    later = choose([*tried, *untried], 2, rounds=LONG_AGO)  # one place each
    reasons = {skip.client_id: skip.reason for skip in later.skipped}
    assert reasons["c"].startswith("its utility is ")
    assert {reasons.get("a"), reasons.get("b")} - {None} == {
        f"its utility of {later.selected[0].score:.3g} was high enough, but other clients were drawn"
    }
    assert reasons[next(name for name in "xyz" if name in reasons)] == (
        "it was not tried before, and was not drawn for the 1 of 2 places that explore"
    )
    first = choose([*tried, *untried], 1)
    assert {skip.reason for skip in first.skipped if skip.client_id in "abc"} == {
        "all 1 places explore clients that were not tried before"
    }
