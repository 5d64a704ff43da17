"""The strategies, against their page and its example."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import STRATEGIES, Candidate, History, SelectionPolicy, parameters_of
from tests.docs.pages import page, rows


def test_the_strategies_and_their_parameters_are_listed_as_they_are() -> None:
    listed = [cells[0].strip("`") for cells in rows(page("selection.md"), "The other strategies") if len(cells) == 2]
    assert sorted(listed) == sorted(STRATEGIES)
    table = [tuple(cells[:4]) for cells in rows(page("selection.md"), "The other strategies") if len(cells) == 5]
    declared = {(name, parameter) for name, strategy in STRATEGIES.items() for parameter in parameters_of(strategy)}
    assert sorted(table) == sorted(
        (f"`{name}`", f"`{one.name}`", f"{one.default:g}", f"{one.minimum:g}, {one.maximum:.12g}")
        for name, one in declared
    )


def test_the_strategy_of_the_example_selects_the_cheapest(run_page: Callable[[str], dict[str, Any]]) -> None:
    candidates = [
        Candidate(
            client_id=f"c{mbps}", data_size=10, data_distribution=None, compute_capacity=1, bandwidth=mbps, latency=0
        )
        for mbps in (8, 4, 16)
    ]
    policy = SelectionPolicy(min_clients=1, max_clients=2)
    rng = np.random.default_rng(0)
    cheapest = run_page("selection.md")["cheapest"]
    selection = cheapest(candidates, Connectivity.empty(), History(), policy, rng)
    assert selection.client_ids == ("c16", "c8")
    assert [skip.reason for skip in selection.skipped] == ["its link costs 4 s"]  # two times 1 MB at 8 / 4 s/MB
    by_chance = replace(policy, parameters={"chance": 1})
    drawn = [cheapest(candidates, Connectivity.empty(), History(), by_chance, rng).client_ids for _ in range(30)]
    assert any("c4" in client_ids for client_ids in drawn)
