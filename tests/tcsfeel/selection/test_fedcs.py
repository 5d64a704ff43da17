"""FedCS: the estimated round, and who still fits into it."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import Candidate, History, Selection, SelectionPolicy, select
from tcsfeel.selection.fedcs import Schedule, Times
from tests.tcsfeel.worlds import candidates, pool


def choose(clients: list[Candidate], least: int, most: int, seed: int = 0, **parameters: float) -> Selection:
    policy = SelectionPolicy(min_clients=least, max_clients=most, parameters=parameters)
    return select("fedcs", clients, Connectivity.empty(), History(), policy, np.random.default_rng(seed))


def test_uploads_follow_one_another_while_training_overlaps() -> None:
    times = Times.of(pool(candidates(3, server_cost=[1.0, 2.0, 3.0], train_seconds=[10.0, 4.0, 30.0])))

    assert times.transfer.tolist() == [1, 2, 3]
    assert times.train.tolist() == [10, 4, 30]
    schedule = times.extended(Schedule(), 1)
    assert schedule == Schedule(2, 6)  # 2 s down; 4 s of training and 2 s up
    schedule = times.extended(schedule, 0)
    assert schedule == Schedule(2, 11)  # its upload begins after 10 s
    assert times.extended(schedule, 1) == Schedule(2, 13)  # one that is ready waits for the link
    assert times.extended(schedule, 2).seconds == 3 + 30 + 3
    assert times.with_each(schedule).tolist() == [2 + 11 + 1, 2 + 11 + 2, 3 + 30 + 3]


def test_a_round_of_one_takes_what_its_client_takes() -> None:
    times = Times.of(pool(candidates(1, server_cost=[0.25], train_seconds=[0.5])))

    assert times.extended(Schedule(), 0) == Schedule(0.25, 0.75)


def test_by_default_two_candidates_are_drawn_for_each_place() -> None:
    reasons = [skip.reason for skip in choose(candidates(8), 2, 2).skipped]

    assert sum(reason == "not among the 4 candidates that were drawn" for reason in reasons) == 4


def test_as_many_as_the_deadline_allows_are_chosen() -> None:
    # Transfers of 1 s: a round of a takes 1 + 2 + 1 s, each of b to d that trains meanwhile 1 s more; e trains longer.
    clients = candidates(5, train_seconds=[2.0, 1.0, 1.0, 1.0, 9.0])

    chosen = choose(clients, 1, 5, deadline_seconds=6.0)

    assert sorted(chosen.client_ids) == ["a", "b", "c", "d"]  # 1 + 1 + 4 uploads
    assert [one.score for one in chosen.selected] == [-3, -4, -5, -6]
    assert [(skip.client_id, skip.reason) for skip in chosen.skipped] == [
        ("e", "with it the round would last 11 s instead of 6 s, the deadline is 6 s")
    ]
    assert len(choose(clients, 1, 5, deadline_seconds=5.999).selected) == 3
    assert len(choose(clients, 1, 2, deadline_seconds=6.0).selected) == 2


def test_the_minimum_is_kept_beyond_the_deadline_with_those_that_lengthen_it_least() -> None:
    clients = candidates(5, train_seconds=[50.0, 10.0, 40.0, 20.0, 30.0])

    assert set(choose(clients, 3, 5, pool_factor=10, deadline_seconds=0).client_ids) == {"b", "d", "e"}
    assert set(choose(clients, 1, 5, pool_factor=10, deadline_seconds=0).client_ids) == {"b"}


@pytest.mark.untraced
def test_only_the_drawn_are_chosen() -> None:
    clients = candidates(8, train_seconds=[1.0, *[5.0] * 7])  # a is always first where it is drawn
    runs = [choose(clients, 2, 2, seed, pool_factor=2) for seed in range(400)]
    share = np.mean(["a" in run.client_ids for run in runs])

    assert share == pytest.approx(4 / 8, abs=0.1)  # 4 standard deviations of a binomial (400, 1/2)
    for run in runs[:20]:
        left = [skip for skip in run.skipped if skip.reason == "not among the 4 candidates that were drawn"]
        assert len(left) == 4


def test_others_than_the_drawn_join_where_the_budget_cannot_be_kept_without_them() -> None:
    policy = SelectionPolicy(min_clients=1, max_clients=1, budget_constraint=2.0, parameters={"pool_factor": 1})
    clients = candidates(3, server_cost=[1.0, 5.0, 5.0])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert select("fedcs", clients, Connectivity.empty(), History(), policy, rng).client_ids == ("a",)


def test_beyond_the_deadline_the_drawn_come_first_as_well() -> None:
    clients = candidates(3, train_seconds=[1.0, 2.0, 3.0])
    first = {choose(clients, 1, 1, seed, pool_factor=1, deadline_seconds=0).client_ids for seed in range(30)}
    assert first == {("a",), ("b",), ("c",)}  # one is drawn, be it the slowest


def test_clients_that_lengthen_the_round_alike_take_turns() -> None:
    first = {choose(candidates(4), 1, 1, seed, pool_factor=10).client_ids for seed in range(40)}
    assert first == {("a",), ("b",), ("c",), ("d",)}


def test_the_greedy_order_ends_as_early_as_any_other() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        train = rng.uniform(0, 10, 5).tolist()
        clients = candidates(5, train_seconds=train)  # equal transfers: shortest training first is the best order
        chosen = choose(clients, 5, 5)
        times = Times.of(pool(clients))

        def seconds(order: tuple[int, ...], times: Times = times) -> float:
            schedule = Schedule()
            for member in order:
                schedule = times.extended(schedule, member)
            return schedule.seconds

        assert -chosen.selected[-1].score == pytest.approx(min(seconds(order) for order in permutations(range(5))))


def test_the_default_deadline_is_that_of_the_paper() -> None:
    clients: Any = candidates(3, train_seconds=[1.0, 150.0, 200.0])
    assert set(choose(clients, 1, 3).client_ids) == {"a", "b"}  # three minutes
