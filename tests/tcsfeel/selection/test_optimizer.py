"""The documented Python interface."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tcsfeel.errors import BudgetTooSmall, NotEnoughClients
from tcsfeel.network.matrix import InvalidConnectivity
from tcsfeel.selection import Candidate, Weights
from tcsfeel.selection.optimizer import ClientNode, TopologyOptimizer

NODE = ClientNode("a", 100, [0.5, 0.5], compute_capacity=1.0, bandwidth=8.0, latency=0.0, reliability=1.0)
PATH: list[list[float | None]] = [[0, 1, None], [1, 0, 2], [None, 2, 0]]


def optimizer(count: int = 3, **policy: Any) -> TopologyOptimizer:
    built = TopologyOptimizer(**{"min_clients": 1, "max_clients": 2, **policy})
    for name in "abcdef"[:count]:
        built.add_client(replace(NODE, node_id=name))
    return built


def test_it_returns_the_nodes_it_chose() -> None:
    chosen = optimizer(max_clients=1).optimize_topology(1)

    assert len(chosen) == 1
    assert isinstance(chosen[0], ClientNode)


def test_arrays_lists_and_maps_describe_the_same_labels() -> None:
    built = TopologyOptimizer(min_clients=2, max_clients=2)
    built.add_client(replace(NODE, node_id="array", data_distribution=np.array([3, 1])))
    built.add_client(replace(NODE, node_id="list", data_distribution=[0.25, 0.75]))
    built.add_client(replace(NODE, node_id="map", data_distribution={"0": 1, "1": 3}))

    chosen = built.optimize_topology(1)

    assert "array" in {node.node_id for node in chosen}  # the only one that balances another
    assert next(node for node in chosen if node.node_id == "array").data_distribution == (3, 1)
    assert built.last_selection is not None
    assert len(built.last_selection.skipped) == 1


def test_labels_may_be_unknown() -> None:
    built = TopologyOptimizer(min_clients=1, max_clients=2)
    built.add_client(replace(NODE, data_distribution=None))

    assert [node.node_id for node in built.optimize_topology(1)] == ["a"]
    assert built.last_selection is not None
    assert built.last_selection.label_divergence is None


def test_rounds_remember_who_took_part() -> None:
    built = optimizer(max_clients=1)

    assert built.last_selection is None

    names = [built.optimize_topology(number)[0].node_id for number in (1, 2, 3)]

    assert sorted(names) == ["a", "b", "c"]
    from_zero = optimizer(max_clients=1, weights=Weights(0, 0, 0, 1))
    assert [from_zero.optimize_topology(number)[0].node_id for number in (0, 1, 2)] == ["a", "b", "c"]


def test_planning_a_round_again_gives_the_same_clients() -> None:
    built = optimizer(6, strategy="random")
    first = [built.optimize_topology(number) for number in range(4)]

    assert [built.optimize_topology(number) for number in range(4)] == first
    assert [optimizer(6, strategy="random", seed=0).optimize_topology(number) for number in range(4)] == first
    owed = optimizer(3, max_clients=1)  # by history, to which the round itself does not belong
    assert owed.optimize_topology(1) == owed.optimize_topology(1)
    assert any(optimizer(6, strategy="random", seed=seed).optimize_topology(0) != first[0] for seed in range(1, 5))


def test_rounds_have_ten_to_thirty_clients_unless_said_otherwise() -> None:
    built = TopologyOptimizer(strategy="random")
    for number in range(9):
        built.add_client(replace(NODE, node_id=f"c{number}"))
    with pytest.raises(NotEnoughClients, match="min_clients is 10"):
        built.optimize_topology(1)
    for number in range(9, 40):
        built.add_client(replace(NODE, node_id=f"c{number}"))

    assert len(built.optimize_topology(1)) == 30
    assert built.target_accuracy == 0.963


def test_the_ends_of_the_ranges_are_allowed() -> None:
    node = replace(NODE, data_size=1, latency=0, reliability=0.0, update_quality=1.0, loss=-1.0)
    assert node.candidate().data_size == 1

    built = TopologyOptimizer(1, 1, 1.0, seed=0, model_bytes=1, weights=Weights(0, 0, 0, 1))
    built.add_client(node)
    built.update_client_performance("a", 0.0, new_reliability=1.0)
    assert [one.node_id for one in built.optimize_topology(0, budget_constraint=1.0)] == ["a"]


def test_the_strategies_see_every_field_of_a_client() -> None:
    node = ClientNode("a", 7, [0, 2], 3.0, 4.0, 5.0, reliability=0.25, update_quality=0.5, loss=0.75)

    assert node.candidate() == Candidate(
        client_id="a",
        data_size=7,
        data_distribution={"0": 0.0, "1": 2.0},
        compute_capacity=3.0,
        bandwidth=4.0,
        latency=5.0,
        reliability=0.25,
        update_quality=0.5,
        loss=0.75,
    )
    assert replace(node, data_distribution=None).candidate().data_distribution is None


def test_a_newcomer_is_not_owed_the_past() -> None:
    built = optimizer(2, max_clients=1, weights=Weights(0, 0, 0, 1))
    for number in (1, 2, 3):
        built.optimize_topology(number)
    built.add_client(replace(NODE, node_id="new"))

    # of a and b one was chosen once and is owed something; the newcomer is at the mean
    assert built.optimize_topology(4)[0].node_id in {"a", "b"}

    built = optimizer(2, max_clients=1, weights=Weights(0, 0, 0, 1))
    assert {built.optimize_topology(number)[0].node_id for number in (1, 2)} == {"a", "b"}
    built.add_client(replace(NODE, node_id="new"))
    # nobody is owed anything, and of equal ones the first is chosen
    assert built.optimize_topology(3)[0].node_id == "a"


def test_weights_decide_what_counts() -> None:
    def first(weights: Weights) -> str:
        built = TopologyOptimizer(1, 1, weights=weights)
        built.add_client(replace(NODE, node_id="even"))
        built.add_client(replace(NODE, node_id="near", data_distribution=[1, 0], bandwidth=80.0))
        return built.optimize_topology(1)[0].node_id

    assert first(Weights(1, 0, 0, 0)) == "even"
    assert first(Weights(0, 1, 0, 0)) == "near"


def test_the_budget_holds() -> None:
    built = optimizer(max_clients=3)  # 2 s each

    assert len(built.optimize_topology(1, budget_constraint=2.0)) == 1
    with pytest.raises(BudgetTooSmall, match="cost 4 s"):
        optimizer(model_bytes=2_000_000).optimize_topology(1, budget_constraint=3.9)
    for budget in (1.9, 0.0):
        with pytest.raises(BudgetTooSmall):
            built.optimize_topology(1, budget_constraint=budget)
    with pytest.raises(NotEnoughClients):
        optimizer(1, min_clients=2).optimize_topology(1)


def test_performance_changes_what_is_expected() -> None:
    built = optimizer(2, strategy="documented", max_clients=1)

    built.update_client_performance("b", 0.5)
    built.update_client_performance("b", 1.0, new_reliability=0.8)

    (best,) = built.optimize_topology(1)
    # 0.5 + 0.3 * (1 - 0.5) = 0.65
    assert (best.node_id, best.update_quality, best.reliability) == ("b", 0.65, 0.8)


def test_losses_decide_where_the_strategy_goes_by_them() -> None:
    built = optimizer(3, strategy="power-of-choice", max_clients=1, parameters={"factor": 3})
    for name, loss in (("a", 1.0), ("b", 3.0), ("c", 2.0)):
        built.update_client_performance(name, 0.5, loss=loss)

    assert [node.node_id for node in built.optimize_topology(1)] == ["b"]
    built.update_client_performance("b", 0.5, loss=0.1)
    built.update_client_performance("c", 0.5)  # says nothing of a loss
    assert [(node.node_id, node.loss) for node in built.optimize_topology(2)] == [("c", 2.0)]


def test_topology_stats_are_a_dictionary() -> None:
    built = optimizer()
    built.build_connectivity_graph(PATH)

    stats = built.get_topology_stats()

    assert (stats["num_clients"], stats["num_edges"], stats["components"]) == (3, 2, 1)
    assert stats["betweenness"] == {"a": 0, "b": 1, "c": 0}


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("node_id", "", "a string that is not empty"),
        ("data_size", 0, "at least 1"),
        ("data_size", 10**400, "at least 1"),
        ("data_distribution", [], "finite numbers of at least 0, not all 0"),
        ("data_distribution", [0, 0], "finite numbers of at least 0, not all 0"),
        ("data_distribution", [1, -1], "finite numbers of at least 0, not all 0"),
        ("data_distribution", [1, 10**400], "finite numbers of at least 0, not all 0"),
        ("data_distribution", [1, "x"], "finite numbers of at least 0, not all 0"),
        ("data_distribution", {"x": float("nan")}, "finite numbers of at least 0, not all 0"),
        ("compute_capacity", 0, "a finite number above 0"),
        ("bandwidth", float("inf"), "a finite number above 0"),
        ("latency", -1, "a finite number of at least 0"),
        ("latency", None, "a finite number of at least 0"),
        ("reliability", 1.1, "between 0 and 1"),
        ("update_quality", -0.1, "between 0 and 1"),
        ("loss", float("nan"), "a finite number"),
    ],
)
def test_a_field_out_of_range_is_named_with_its_range(field: str, value: object, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be {rule}$"):
        replace(NODE, **{field: value})  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("min_clients", 0, "at least 1"),
        ("max_clients", 0, "at least min_clients, 1"),
        ("target_accuracy", 96.3, "between 0 and 1"),
        ("strategy", "oracle", "one of documented, fedcs, oort, power-of-choice, random, tcs-feel"),
        ("seed", -1, "at least 0"),
        ("model_bytes", 0, "at least 1"),
        ("largest_multiple", 0.99, "a finite number of at least 1"),
        ("largest_multiple", float("inf"), "a finite number of at least 1"),
    ],
)
def test_an_argument_out_of_range_is_named_with_its_range(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {rule}$"):
        optimizer(**{name: value})


def test_calls_that_cannot_be_meant_are_refused() -> None:
    built = optimizer()

    with pytest.raises(ValueError, match=r"^weights\.compute must be a finite number of at least 0$"):
        optimizer(weights=Weights(compute=-1))
    with pytest.raises(ValueError, match=r"^parameters\.factor should be from 1 to 1000, is 0"):
        optimizer(strategy="power-of-choice", parameters={"factor": 0})
    with pytest.raises(ValueError, match=r"^parameters\.factor is no parameter of the strategy, which has none"):
        optimizer(strategy="random", parameters={"factor": 2})
    with pytest.raises(ValueError, match=r"^node_id must be new, 'a' was added before$"):
        built.add_client(NODE)
    with pytest.raises(ValueError, match=r"^node_id must be the id of a client that was added, not 'x'$"):
        built.update_client_performance("x", 0.5)
    with pytest.raises(ValueError, match=r"^update_quality must be between 0 and 1$"):
        built.update_client_performance("a", 2)
    with pytest.raises(ValueError, match=r"^reliability must be between 0 and 1"):
        built.update_client_performance("a", 1, new_reliability=2)
    with pytest.raises(ValueError, match=r"^loss must be a finite number$"):
        built.update_client_performance("a", 1, loss=float("inf"))
    with pytest.raises(ValueError, match=r"^round_number must be at least 0$"):
        built.optimize_topology(-1)
    with pytest.raises(ValueError, match=r"^budget_constraint must be at least 0$"):
        built.optimize_topology(1, budget_constraint=float("nan"))
    with pytest.raises(InvalidConnectivity, match="symmetric"):
        built.build_connectivity_graph([[0, 1, 1], [2, 0, 1], [1, 1, 0]])
    with pytest.raises(ValueError, match="one row for each of the 3"):
        built.build_connectivity_graph([[0]])


def test_it_needs_neither_database_nor_web_framework() -> None:
    heavy = "{'fastapi', 'sqlalchemy', 'pydantic', 'networkit', 'asyncio'}"
    code = f"import sys, tcsfeel.selection.optimizer; print(*{heavy} & set(sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)  # noqa: S603  (our own interpreter)

    assert loaded.stdout.strip() == ""


def test_weights_may_be_named_in_a_dictionary() -> None:
    assert optimizer(2, max_clients=1, weights={"fairness": 0}).optimize_topology(1)
    with pytest.raises(
        ValueError, match=r"^weights\.fair is not a weight; the weights are data_quality, communication"
    ):
        optimizer(weights={"fair": 1})
    with pytest.raises(ValueError, match=r"^weights\.fairness must be a finite number of at least 0$"):
        optimizer(weights={"fairness": -1})
