"""What holds of every strategy, whatever the candidates."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcsfeel.errors import BudgetTooSmall, NotEnoughClients, SelectionInfeasible, UnknownStrategy, UnusableStrategy
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import (
    STRATEGIES,
    Candidate,
    History,
    Selection,
    SelectionPolicy,
    installed,
    registry,
    select,
    strategies,
)
from tcsfeel.selection.debt import participation_debt
from tcsfeel.selection.random import random
from tests.tcsfeel.worlds import any_candidates, any_connectivity, any_history, candidates, objective, pool

NAMES = sorted(STRATEGIES)


def run(
    name: str, clients: list[Candidate], policy: SelectionPolicy, links: Connectivity | None = None, seed: int = 0
) -> Selection:
    return select(name, clients, links or Connectivity.empty(), History(), policy, np.random.default_rng(seed))


def test_without_other_packages_there_are_the_strategies_of_this_one() -> None:
    assert dict(strategies()) == dict(STRATEGIES)


def test_rounds_are_numbered_from_one() -> None:
    assert History().round_number == 1
    assert History((frozenset("a"),)).round_number == 2


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownStrategy, match=f"the known strategies are {', '.join(NAMES)}") as refused:
        run("oracle", candidates(1), SelectionPolicy(min_clients=1))
    assert refused.value.name == "oracle"


@pytest.fixture
def third_parties(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    points = EntryPoints(
        EntryPoint(name, "tcsfeel.selection.random:random", registry.ENTRY_POINTS) for name in ("other", "tcs-feel")
    )
    monkeypatch.setattr(registry, "entry_points", lambda *, group: points.select(group=group))
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.mark.usefixtures("third_parties")
def test_other_packages_add_strategies_and_replace_none() -> None:
    assert list(strategies()) == sorted([*STRATEGIES, "other"])
    assert strategies()["other"] is random
    assert strategies()["tcs-feel"] is not random
    assert run("other", candidates(2), SelectionPolicy(min_clients=1, max_clients=1)).strategy == "random"


def plain(*arguments: Any, **keywords: Any) -> Selection:
    return random(*arguments, **keywords)


@pytest.mark.usefixtures("third_parties")
def test_each_strategy_says_where_it_comes_from_and_what_it_is() -> None:
    known = installed()

    assert all(one.name == name for name, one in known.items())
    assert {name for name, one in known.items() if one.source == "built in"} == set(STRATEGIES)
    assert known["other"].source == "tcsfeel.selection.random"  # of no distribution: the module
    assert (
        known["fedcs"].summary
        == "Select as many clients of a random pool as fit in a deadline, first those that lengthen the round least."
    )
    assert [one.name for one in known["fedcs"].parameters] == ["pool_factor", "deadline_seconds"]
    assert replace(known["fedcs"], strategy=plain).summary == ""


def test_a_distribution_that_is_installed_is_named_as_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tcsfeel.strategies]\ntheirs = tcsfeel.selection.random:random\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed.cache_clear()
    try:
        assert (installed()["theirs"].source, installed()["theirs"].strategy) == ("their-package", random)
    finally:
        installed.cache_clear()


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("no_such_package:thing", "ModuleNotFoundError: No module named 'no_such_package'"),
        (
            "tcsfeel.selection.random:thing",
            "AttributeError: module 'tcsfeel.selection.random' has no attribute 'thing'",
        ),
        ("tcsfeel.statuses:__name__", "is a str, not a function"),
    ],
)
def test_a_strategy_that_cannot_be_used_is_named_with_its_package(
    place: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = EntryPoints([EntryPoint("theirs", place, registry.ENTRY_POINTS)])
    monkeypatch.setattr(registry, "entry_points", lambda *, group: points.select(group=group))
    installed.cache_clear()
    try:
        with pytest.raises(UnusableStrategy, match="the selection strategy 'theirs' of the package") as stopped:
            installed()
    finally:
        installed.cache_clear()
    assert fault in str(stopped.value)
    assert (stopped.value.name, stopped.value.source) == ("theirs", place.partition(":")[0])


@pytest.mark.parametrize("name", NAMES)
def test_too_few_clients_and_too_small_a_budget_are_refused(name: str) -> None:
    with pytest.raises(NotEnoughClients):
        run(name, candidates(2), SelectionPolicy(min_clients=3))
    with pytest.raises(NotEnoughClients):
        run(name, [], SelectionPolicy(min_clients=1))
    with pytest.raises(BudgetTooSmall):
        run(name, candidates(2), SelectionPolicy(min_clients=2, budget_constraint=3.9))


@pytest.mark.parametrize("name", NAMES)
def test_the_cheapest_set_is_found_when_nothing_else_fits(name: str) -> None:
    clients = candidates(6, server_cost=[6.0, 1.0, 5.0, 2.0, 4.0, 3.0])
    policy = SelectionPolicy(min_clients=3, max_clients=5, budget_constraint=2 * (1 + 2 + 3))

    for seed in range(5):
        assert set(run(name, clients, policy, seed=seed).client_ids) == {"b", "d", "f"}


@pytest.mark.parametrize("name", NAMES)
def test_one_candidate_is_chosen(name: str) -> None:
    chosen = run(name, candidates(1), SelectionPolicy(min_clients=1))

    assert chosen.strategy == name
    assert chosen.client_ids == ("a",)
    assert chosen.skipped == ()
    assert chosen.fairness == 1


@settings(deadline=None)
@given(
    name=st.sampled_from(NAMES),
    clients=any_candidates(),
    links=any_connectivity(),
    history=any_history(),
    minimum=st.integers(1, 8),
    more=st.integers(0, 8),
    tightness=st.none() | st.floats(0, 2),
    seed=st.integers(0, 3),
)
def test_every_strategy_keeps_the_policy_and_explains_itself(
    *,
    name: str,
    clients: list[Candidate],
    links: Connectivity,
    history: History,
    minimum: int,
    more: int,
    tightness: float | None,
    seed: int,
) -> None:
    every = pool(clients)
    spent = None if tightness is None else tightness * float(every.costs.min()) * minimum
    policy = SelectionPolicy(min_clients=minimum, max_clients=minimum + more, budget_constraint=spent)

    def plan() -> Selection:
        return select(name, clients, links, history, policy, np.random.default_rng(seed))

    try:
        chosen = plan()
    except SelectionInfeasible:
        cheapest = np.sort(every.costs)[:minimum]
        assert len(clients) < minimum or (spent is not None and cheapest.sum() >= spent * (1 - 1e-9))
        return
    assert chosen.strategy == name
    assert minimum <= len(chosen.selected) <= minimum + more
    assert spent is None or chosen.total_cost <= spent
    assert chosen.total_cost == pytest.approx(sum(one.marginal_cost for one in chosen.selected))
    everyone = [*chosen.client_ids, *(one.client_id for one in chosen.skipped)]
    assert sorted(everyone) == sorted(client.client_id for client in clients)
    assert all(one.reason for one in chosen.skipped)
    assert [one.score for one in chosen.selected] == sorted((one.score for one in chosen.selected), reverse=True)
    for one in chosen.selected:
        assert all(np.isfinite(value) for value in one.components.values())
        for shown in ("data_quality", "betweenness", "bandwidth", "latency", "compute", "fairness"):
            assert 0 <= one.components[shown] <= 1
    assert chosen.label_divergence is None or chosen.label_divergence >= 0
    assert 1 / len(clients) <= chosen.fairness + 1e-9 <= 1 + 2e-9
    assert plan() == chosen


@settings(deadline=None)
@given(clients=any_candidates(), history=any_history(), size=st.integers(1, 8), seed=st.integers(0, 3))
def test_tcs_feel_is_never_worse_than_a_thousand_random_sets(
    clients: list[Candidate], history: History, size: int, seed: int
) -> None:
    size = min(size, len(clients))
    costs = pool(clients).costs
    policy = SelectionPolicy(
        min_clients=size, max_clients=size, budget_constraint=float(np.sort(costs)[:size].sum() * 1.5)
    )
    names = [client.client_id for client in clients]
    f = objective(clients, policy, participation_debt(names, history).tolist())
    rng = np.random.default_rng(seed)

    chosen = STRATEGIES["tcs-feel"](clients, Connectivity.empty(), history, policy, rng)

    found = float(f.value(f.sums([names.index(name) for name in chosen.client_ids])))
    sets = np.array([rng.choice(len(clients), size, replace=False) for _ in range(1000)])
    feasible = sets[costs[sets].sum(axis=1) <= policy.budget_constraint]
    if len(feasible):
        best = float(f.value(f.sums(feasible)).min())
        assert found <= best + 1e-9 * max(1.0, abs(best))
