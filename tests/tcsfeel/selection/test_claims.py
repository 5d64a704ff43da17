"""Claims beyond belief gain nothing, and all others are left as they are."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.demo.world import World as DemoWorld
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import STRATEGIES, Candidate, History, SelectionPolicy, select
from tcsfeel.selection.claims import believed
from tests.tcsfeel.worlds import BEGINNING, NO_LINKS, candidates, skewed

POLICY = SelectionPolicy(min_clients=1, max_clients=4)
LIAR = Candidate(
    client_id="liar",
    data_size=10**12,
    data_distribution=[1.0] * 10,
    compute_capacity=1e9,
    bandwidth=1e9,
    latency=0.0,
    reliability=1.0,
    server_cost=0.0,
)


def selected(name: str, fleet: list[Candidate], rounds: int, clients: int) -> Counter[str]:
    """How often each client is in so many rounds; those that report do it with the highest loss."""
    counts: Counter[str] = Counter()
    history, policy = History(), SelectionPolicy(min_clients=clients, max_clients=clients)
    for number in range(rounds):
        seen = [replace(one, loss=1.0 if counts[one.client_id] else None) for one in fleet[:-1]]
        seen.append(replace(fleet[-1], loss=1e15 if counts[fleet[-1].client_id] else None))
        chosen = select(name, seen, Connectivity.empty(), history, policy, np.random.default_rng(number)).client_ids
        assert len(set(chosen)) == clients
        counts.update(chosen)
        history = History((*history.rounds, frozenset(chosen)))
    return counts


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("labels", [[1.0] * 10, None])
def test_one_liar_among_twenty_is_selected_no_more_than_its_fair_share(name: str, labels: list[float] | None) -> None:
    # fair are 40 rounds * 4 places / 21 clients = 7.6
    fleet = [*skewed(20, seed=3), replace(LIAR, data_distribution=labels)]
    assert selected(name, fleet, 40, 4)["liar"] <= 1.5 * 7.6


def test_ordinary_fleets_are_left_as_they_are() -> None:
    for seed in range(20):
        fleet = tuple(skewed(30, seed))
        assert believed(fleet, BEGINNING, POLICY).candidates == fleet
        world = DemoWorld.of(seed, 50)
        of_demo = tuple(
            Candidate(
                client_id=client_id,
                data_size=len(shard.train_labels),
                data_distribution=None,
                compute_capacity=device.compute,
                bandwidth=device.bandwidth,
                latency=device.latency,
            )
            for client_id, shard, device in zip(world.client_ids, world.shards, world.network.devices, strict=True)
        )
        assert believed(of_demo, BEGINNING, replace(POLICY, model_bytes=19_240)).candidates == of_demo


@pytest.mark.parametrize(
    ("claim", "counts_as", "doubt"),
    [
        ({"data_size": 2001}, {"data_size": 100}, "data_size 2001 (median 100)"),
        ({"data_size": 2000}, {"data_size": 2000}, None),
        ({"compute_capacity": 20.1}, {"compute_capacity": 1.0}, "compute_capacity 20.1 (median 1)"),
        ({"compute_capacity": 20.0}, {"compute_capacity": 20.0}, None),
        ({"compute_capacity": 20.1, "train_seconds": 0.5}, {"compute_capacity": 20.1}, None),
        ({"bandwidth": 161.0}, {"bandwidth": 8.0, "server_cost": None}, "0.0497 s for a transfer (median 1)"),
        ({"bandwidth": 160.0}, {"bandwidth": 160.0}, None),
        ({"server_cost": 0.049}, {"server_cost": 1.0, "bandwidth": 8.0}, "0.049 s for a transfer (median 1)"),
        ({"latency": 5.0}, {"latency": 5.0}, None),
    ],
)
def test_a_claim_of_more_than_twenty_times_the_median_counts_as_the_median(
    claim: dict[str, Any], counts_as: dict[str, Any], doubt: str | None
) -> None:
    fleet = candidates(5)
    fleet[2] = replace(fleet[2], **claim)
    once = History((frozenset("c"),))
    found = believed(fleet, once, POLICY)
    assert {name: getattr(found.candidates[2], name) for name in counts_as} == counts_as
    assert [one for place, one in enumerate(found.candidates) if place != 2] == [
        one for place, one in enumerate(fleet) if place != 2
    ]
    assert list(found.waiting) == ([] if doubt is None else [2])
    if doubt is not None:
        why = "its claims are implausible, so it is only selected when it is due"
        assert found.reasons() == {"c": f"{why}: {doubt}"}


def test_a_latency_that_nobody_else_has_is_not_believed() -> None:
    # 0 s against 2 * 0.1: a transfer of next to no bytes is its latency
    fleet = candidates(5, latency=[100.0, 100.0, 4.0, 100.0, 100.0])
    found = believed(fleet, BEGINNING, replace(POLICY, model_bytes=1))
    assert found.candidates[2].latency == 100.0


def test_of_three_nobody_can_tell_what_is_usual_but_of_four() -> None:
    fleet = (*candidates(2), LIAR)
    assert believed(fleet, BEGINNING, POLICY).candidates == fleet
    assert believed((*candidates(3), LIAR), BEGINNING, POLICY).candidates[3].data_size == 100


def test_a_turn_is_owed_before_the_first_round_and_again_after_the_others() -> None:
    fleet = [*candidates(4), LIAR]
    taken = (frozenset({"liar"}),)
    others = (frozenset("a"), frozenset("b"), frozenset("c"), frozenset("d"))
    # 0; 0.2 - 1; and 0.2 more after each of four rounds
    waits = [bool(believed(fleet, History(rounds), POLICY).waiting) for rounds in ((), taken, taken + others)]
    assert waits == [False, True, False]


def test_nobody_waits_where_there_are_too_few_others() -> None:
    fleet = [*candidates(4), LIAR]
    policy = SelectionPolicy(min_clients=5, max_clients=5)
    history = History((frozenset({"liar"}),))
    selection = select("tcs-feel", fleet, NO_LINKS, history, policy, np.random.default_rng(1))
    assert set(selection.client_ids) == {"a", "b", "c", "d", "liar"}


def test_a_budget_that_only_a_claim_keeps_to_is_kept_to() -> None:
    fleet = [*candidates(4), LIAR]
    policy = SelectionPolicy(min_clients=1, max_clients=5, budget_constraint=1.0)  # the others cost 2 s
    selection = select("tcs-feel", fleet, NO_LINKS, BEGINNING, policy, np.random.default_rng(1))
    assert selection.client_ids == ("liar",)


def test_a_selection_says_why_a_client_waits() -> None:
    fleet = [*candidates(4), LIAR]
    history = History((frozenset({"liar"}),))
    selection = select("random", fleet, NO_LINKS, history, POLICY, np.random.default_rng(1))
    assert {one.client_id: one.reason for one in selection.skipped} == {
        "liar": "its claims are implausible, so it is only selected when it is due: "
        "data_size 1000000000000 (median 100), compute_capacity 1e+09 (median 1), 0 s for a transfer (median 1)"
    }


@pytest.mark.parametrize("labels", [[1.0] * 10, {"a label of its own": 1.0}])
@pytest.mark.parametrize("seed", [1, 3])
def test_a_false_claim_of_labels_alone_buys_no_more_than_an_honest_client_gets(seed: int, labels: Any) -> None:
    fleet = skewed(20, seed)
    usual = sorted(one.data_size for one in fleet)[10]
    liar = replace(fleet[0], client_id="liar", data_size=usual, data_distribution=labels)
    counts = selected("tcs-feel", [*fleet, liar], 40, 4)
    assert counts["liar"] <= max(counts[one.client_id] for one in fleet)
