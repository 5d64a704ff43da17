"""Power of choice: who is drawn, and which of the drawn are kept."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import Candidate, History, Selection, SelectionPolicy, select
from tests.tcsfeel.worlds import candidates


def choose(clients: list[Candidate], slots: int, seed: int = 0, **policy: Any) -> Selection:
    rules = SelectionPolicy(**({"min_clients": slots, "max_clients": slots} | policy))
    rng = np.random.default_rng(seed)
    return select("power-of-choice", clients, Connectivity.empty(), History(), rules, rng)


def test_of_all_candidates_those_with_the_highest_loss_are_kept() -> None:
    clients = candidates(5, loss=[0.3, 2.0, 0.1, 1.0, 0.2])
    chosen = choose(clients, 2, parameters={"factor": 10})

    assert [(one.client_id, one.score, one.components["loss"]) for one in chosen.selected] == [
        ("b", 2.0, 2.0),
        ("d", 1.0, 1.0),
    ]
    assert chosen.skipped[0].reason == "its last loss is 0.3, the 2 chosen reported at least 1"


def test_clients_without_a_loss_come_first() -> None:
    clients = candidates(4, loss=[9.0, None, 8.0, None])

    chosen = choose(clients, 3)
    assert set(chosen.client_ids) == {"a", "b", "d"}
    assert chosen.skipped[0].reason == "its last loss is 8, the 3 chosen reported at least 9"
    both = choose(clients, 2)
    assert set(both.client_ids) == {"b", "d"}
    assert {one.reason for one in both.skipped} == {
        "its last loss is 9, the 2 chosen have not reported a loss yet",
        "its last loss is 8, the 2 chosen have not reported a loss yet",
    }


def test_who_has_no_loss_yet_scores_as_the_highest_loss() -> None:
    tried = choose(candidates(3, loss=[0.3, None, 0.2]), 3)

    assert {one.client_id: one.score for one in tried.selected} == {"a": 0.3, "b": 0.3, "c": 0.2}
    assert [one.score for one in choose(candidates(2), 2).selected] == [0, 0]


def test_among_clients_without_a_loss_the_draw_decides() -> None:
    chosen = [choose(candidates(4), 1, seed) for seed in range(20)]

    assert {one.client_ids for one in chosen} == {("a",), ("b",), ("c",), ("d",)}
    reasons = {skip.reason for one in chosen for skip in one.skipped}
    assert reasons == {
        "it has no loss yet, like the 1 chosen, who were drawn before it",
        "not among the 2 candidates that were drawn",
    }


@pytest.mark.untraced
@pytest.mark.parametrize(("factor", "drawn"), [(1.0, 2), (1.5, 3), (2.0, 4), (3.0, 6)])
def test_the_factor_says_how_many_are_drawn(factor: float, drawn: int) -> None:
    # The client with the highest loss of all is chosen whenever it is drawn.
    clients = candidates(8, loss=[9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    runs = [choose(clients, 2, seed, parameters={"factor": factor}) for seed in range(400)]
    share = np.mean(["a" in run.client_ids for run in runs])

    assert share == pytest.approx(drawn / 8, abs=0.1)  # 4 standard deviations of a binomial (400, 1/2)
    left = [skip.reason.startswith("not among") for skip in runs[0].skipped]
    assert sum(left) == 8 - drawn


@pytest.mark.untraced
def test_candidates_are_drawn_in_proportion_to_their_samples() -> None:
    clients = candidates(4, data_size=[100, 200, 300, 400])
    count = Counter(choose(clients, 1, seed, parameters={"factor": 1}).client_ids[0] for seed in range(2000))

    for name, share in zip("abcd", (0.1, 0.2, 0.3, 0.4), strict=True):
        assert count[name] / 2000 == pytest.approx(share, abs=0.045)  # 4 standard deviations of the largest


def test_places_that_no_drawn_candidate_fits_go_to_others() -> None:
    # Any two of b to d fit 4 s, a (20 s) never does; a is by far the likeliest to be drawn.
    clients = candidates(4, server_cost=[10.0, 1.0, 1.0, 1.0], data_size=[10**9, 1, 1, 1], loss=[9.0, 1.0, 2.0, 3.0])
    for seed in range(10):
        chosen = choose(clients, 2, seed, budget_constraint=4.0, parameters={"factor": 1})
        assert len(chosen.selected) == 2
        assert "a" not in chosen.client_ids
