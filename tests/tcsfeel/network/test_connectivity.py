"""Link costs: what is accepted, what is refused and at which cell, and how a matrix changes."""

import math
import time
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.threads import in_thread
from tcsfeel.errors import Invalid
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.network.matrix import InvalidConnectivity, square
from tests.lag import watched

NINE = "abcdefghi"
TRIANGLE: list[list[float | None]] = [
    [0, 1.5, None],
    [1.5, 0, 0],
    [None, 0, 0],
]  # a-b costs 1.5, b-c nothing, a and c cannot talk


def test_a_matrix_of_lists_keeps_free_links_apart_from_missing_ones() -> None:
    links = Connectivity.from_matrix("abc", TRIANGLE, version=3)

    assert list(links.edges()) == [("a", "b", 1.5), ("b", "c", 0.0)]
    assert (links.num_edges, type(links.num_edges)) == (2, int)
    assert links.version == 3
    assert links.restricted("ba").version == 3
    assert Connectivity.from_matrix("abc", TRIANGLE).version == 0
    assert links.costs.dtype == np.float32
    assert links.costs.indptr.tolist() == [0, 1, 3, 4]
    assert links.costs.indices.tolist() == [1, 0, 2, 1]
    assert (links.costs.indices.dtype, links.costs.indptr.dtype) == (np.int32, np.int32)
    assert links.costs.data.tolist() == [1.5, 1.5, 0, 0]


def test_an_array_says_no_link_with_infinity() -> None:
    tensor = np.array([[0, 1.5, np.inf], [1.5, 0, 0], [np.inf, 0, 0]], dtype=np.float32)

    assert list(Connectivity.from_matrix("abc", tensor).edges()) == [("a", "b", 1.5), ("b", "c", 0.0)]


def test_an_array_of_floats_is_not_copied_and_others_become_one() -> None:
    floats, integers = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.int64)
    assert square(floats, 2) is floats
    assert square(integers, 2).dtype == np.float64


def test_rounding_is_evened_out_wherever_it_is_and_the_array_stays_as_it_was() -> None:
    rows = np.ones((600, 600), dtype=np.float32) - np.eye(600, dtype=np.float32)
    rows[[3, 590, 400], [500, 10, 550]] += np.float32(2e-7)
    before = rows.copy()

    links = Connectivity.from_matrix(map(str, range(600)), rows)

    assert set(links.costs.data.tolist()) == {1.0}
    assert np.array_equal(rows, before)


def test_an_array_of_integers_is_as_good() -> None:
    assert list(Connectivity.from_matrix("ab", np.array([[0, 2], [2, 0]])).edges()) == [("a", "b", 2.0)]


def test_neighbours_and_blocks_follow_the_names_asked_for() -> None:
    links = Connectivity.from_matrix("abc", TRIANGLE)

    assert links.neighbours("b") == {"a": 1.5, "c": 0.0}
    assert links.neighbours("newcomer") == {}
    # rows and columns c, newcomer, b: c-b is free, the newcomer has no links
    assert links.block(["c", "newcomer", "b"]).tolist() == [[0, math.inf, 0], [math.inf, 0, math.inf], [0, math.inf, 0]]
    assert links.restricted(["b", "a"]).neighbours("b") == {"a": 1.5}
    assert links.block([]).shape == (0, 0)


def test_an_empty_connectivity_has_clients_and_no_links() -> None:
    links = Connectivity.empty("ab")

    assert links.block(["a", "b"]).tolist() == [[0, math.inf], [math.inf, 0]]
    assert links.block(["a", "b"]).dtype == np.float32
    assert list(links.edges()) == []
    assert (links.version, links.costs.dtype) == (0, np.float32)
    assert Connectivity.from_edges("ab", []).version == 0
    assert Connectivity.from_matrix((), []).num_edges == 0
    assert Connectivity.empty().block([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("rows", "pointer", "says"),
    [
        ([[0, 1]], "/costs", "has 1"),
        ([[0, 1], [1]], "/costs/1", "must have 2 entries, has 1"),
        ([[0, 1], [1, "x"]], "/costs/1", "must hold numbers and nulls only"),
        ([[0, 1], [2, 0]], "/costs/0/1", "1 here, 2 at /costs/1/0 (inf: no link)"),
        ([[0, 1], [None, 0]], "/costs/0/1", "must be symmetric: 1 here, inf at /costs/1/0 (inf: no link)"),
        ([[0, -1], [-1, 0]], "/costs/0/1", "not -1"),
        ([[0, 1], [1, 0.5]], "/costs/1/1", "diagonal must be 0, is 0.5"),
        ([[0, 1], [math.nan, 0]], "/costs/1/0", "not nan"),
        ([[0, 1e39], [1e39, 0]], "/costs/0/1", "from 0 to 3.4e+38, or null for no link; not 1e+39"),
        (np.zeros(4), "/costs", "must have 2 dimensions, has 1"),
        (np.zeros((2, 3)), "/costs/0", "has 3"),
        (np.array([[0, np.nan], [np.nan, 0]], dtype=np.float32), "/costs/0/1", "not nan"),
    ],
)
def test_a_matrix_that_cannot_be_true_is_refused_at_its_cell(rows: Any, pointer: str, says: str) -> None:
    with pytest.raises(InvalidConnectivity) as refused:
        Connectivity.from_matrix("ab", rows)

    assert refused.value.pointer == pointer
    assert refused.value.detail.endswith(says)
    assert isinstance(refused.value, Invalid)


@pytest.mark.parametrize(("row", "column"), [(10, 590), (400, 500), (550, 590)])
def test_the_cell_of_an_asymmetry_is_found_wherever_it_is(row: int, column: int) -> None:
    rows = np.ones((600, 600), dtype=np.float32) - np.eye(600, dtype=np.float32)
    rows[row, column] = 1.1

    with pytest.raises(InvalidConnectivity, match=rf"1\.1 here, 1 at /costs/{column}/{row}") as refused:
        Connectivity.from_matrix(map(str, range(600)), rows)
    assert refused.value.pointer == f"/costs/{row}/{column}"


def test_the_largest_number_of_32_bits_is_a_cost() -> None:
    most = float(np.finfo(np.float32).max)
    links = Connectivity.from_matrix("abc", [[0, most, None], [most, 0, None], [None, None, 0]])

    assert list(links.edges()) == [("a", "b", most)]
    assert list(Connectivity.from_edges("ab", [Edge("a", "b", most)]).edges()) == [("a", "b", most)]


def test_directions_that_differ_by_rounding_get_the_smaller_cost() -> None:
    # 2e-7 apart where 1e-6 is allowed; in float32 the neighbours of 1 are about 1e-7 apart
    links = Connectivity.from_matrix("ab", [[0, 1 + 2e-7], [1, 0]])

    assert links.costs.data.tolist() == [1.0, 1.0]


def test_directions_may_differ_by_a_millionth_of_the_larger_cost() -> None:
    assert list(Connectivity.from_matrix("ab", [[0, 1e6], [999_999, 0]]).edges()) == [("a", "b", 999_999.0)]
    with pytest.raises(InvalidConnectivity):
        Connectivity.from_matrix("ab", [[0, 1e6], [999_998, 0]])


def test_an_asymmetry_is_found_behind_one_of_rounding() -> None:
    with pytest.raises(InvalidConnectivity) as refused:
        Connectivity.from_matrix("abc", [[0, 1 + 2e-7, 3], [1, 0, 5], [3, 4, 0]])
    assert refused.value.pointer == "/costs/1/2"


def test_a_missing_diagonal_is_no_contradiction() -> None:
    assert Connectivity.from_matrix("ab", [[None, 1], [1, None]]).neighbours("a") == {"b": 1.0}


def test_client_ids_are_distinct_and_known() -> None:
    with pytest.raises(InvalidConnectivity, match="'a' is named twice") as twice:
        Connectivity.from_matrix(["a", "b", "a"], np.zeros((3, 3)))
    with pytest.raises(InvalidConnectivity, match="no client 'b'") as unknown:
        Connectivity.from_matrix(["a", "b"], np.zeros((2, 2)), known={"a", "c"})

    assert (twice.value.pointer, unknown.value.pointer) == ("/client_ids/2", "/client_ids/1")


def test_edges_build_a_matrix() -> None:
    links = Connectivity.from_edges("abc", [Edge("b", "a", 1.5), Edge("b", "c", 0), Edge("a", "c", None)], version=7)

    assert links.version == 7
    assert links.costs.toarray().tolist() == Connectivity.from_matrix("abc", TRIANGLE).costs.toarray().tolist()
    assert links.num_edges == 2


def test_changes_set_remove_and_add_links_and_leave_the_old_value_alone() -> None:
    before = Connectivity.from_matrix("abc", TRIANGLE, version=1)

    after = before.with_edges([Edge("c", "b", None), Edge("a", "b", 9), Edge("new", "a", 0)], known=["new"])

    assert list(after.edges()) == [("a", "b", 9.0), ("a", "new", 0.0)]
    assert after.client_ids == ("a", "b", "c", "new")
    assert after.version == 2
    assert list(before.edges()) == [("a", "b", 1.5), ("b", "c", 0.0)]
    assert list(after.with_edges([]).edges()) == list(after.edges())


@pytest.mark.parametrize(
    ("edges", "pointer", "says"),
    [
        ([Edge("a", "x", 1)], "/edges/0/target", "no client 'x'"),
        ([Edge("a", "b", 1), Edge("x", "a", 1)], "/edges/1/source", "no client 'x'"),
        ([Edge("a", "a", 0)], "/edges/0/target", "client 'a' needs no link to itself"),
        ([Edge("a", "b", -1)], "/edges/0/cost", "not -1"),
        ([Edge("a", "b", math.nan)], "/edges/0/cost", "not nan"),
        ([Edge("a", "b", math.inf)], "/edges/0/cost", "not inf"),
        ([Edge("a", "b", 1), Edge("b", "a", 2)], "/edges/1/cost", "twice with different costs"),
        ([Edge("a", "b", 1), Edge("b", "a", None)], "/edges/1/cost", "twice with different costs"),
    ],
)
def test_an_edge_that_cannot_be_true_is_refused(edges: list[Edge], pointer: str, says: str) -> None:
    with pytest.raises(InvalidConnectivity, match=says) as refused:
        Connectivity.from_edges("abc", edges)

    assert refused.value.pointer == pointer


def test_every_link_of_many_is_found_again() -> None:
    half = np.triu(np.ones((9, 9)), 1)
    links = Connectivity.from_matrix(NINE, half + half.T)

    for source, target in combinations(NINE, 2):
        changed = links.with_edges([Edge(target, source, 5)])
        assert changed.num_edges == 36
        assert (changed.neighbours(source)[target], changed.neighbours(target)[source]) == (5, 5)
        assert links.with_edges([Edge(source, target, None)]).num_edges == 35


def test_an_edge_may_be_repeated_with_the_same_cost() -> None:
    assert Connectivity.from_edges("ab", [Edge("a", "b", 1), Edge("b", "a", 1)]).num_edges == 1


COSTS = st.none() | st.floats(0, 2.0**100, width=32)
CHANGES = st.dictionaries(st.sampled_from([(i, j) for j in range(6) for i in range(j)]), COSTS)


@settings(deadline=None)
@given(CHANGES, CHANGES)
def test_changes_agree_with_a_dictionary(
    first: dict[tuple[int, int], float | None], second: dict[tuple[int, int], float | None]
) -> None:
    def edges(cells: dict[tuple[int, int], float | None]) -> list[Edge]:
        return [Edge(str(i), str(j), cost) for (i, j), cost in cells.items()]

    links = Connectivity.from_edges("012345", edges(first)).with_edges(edges(second))
    expected = {cell: cost for cell, cost in (first | second).items() if cost is not None}

    assert {(int(edge.source), int(edge.target)): edge.cost for edge in links.edges()} == expected
    whole = links.block(links.client_ids)
    again = Connectivity.from_matrix(links.client_ids, whole)
    assert list(again.edges()) == list(links.edges())
    assert (whole == whole.T).all()


@pytest.mark.untraced
async def test_the_event_loop_goes_on_while_many_links_are_sorted() -> None:
    names = [f"client-{number}" for number in range(1000)]
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(names), (300_000, 2)).tolist()
    links = [Edge(names[one], names[other], 0.5) for one, other in pairs if one != other]
    async with watched() as lag:
        value = await in_thread("matrices", Connectivity.from_edges, names, links)
    assert value.num_edges == len({frozenset((link.source, link.target)) for link in links})
    assert lag.longest < 0.05


def test_some_rows_are_those_of_the_whole() -> None:
    names = [f"{number}" for number in range(7)]
    links = Connectivity.from_edges(names, [Edge("0", "6", 0), Edge("2", "3", 1.5), Edge("5", "3", 2)])
    for start, stop in ((0, 7), (2, 4), (6, 7), (3, 3)):
        assert np.array_equal(links.rows(start, stop), links.block(names)[start:stop])
        assert links.rows(start, stop).dtype == np.float32


def test_new_costs_of_old_links_copy_nothing_but_the_costs() -> None:
    before = Connectivity.from_matrix("abc", TRIANGLE)

    after = before.with_edges([Edge("c", "b", 4)])

    assert np.shares_memory(after.costs.indices, before.costs.indices)
    assert not np.shares_memory(after.costs.data, before.costs.data)
    assert after.neighbours("b") == {"a": 1.5, "c": 4}


def test_the_same_clients_in_the_same_order_are_the_same_matrix() -> None:
    links = Connectivity.from_matrix("abc", TRIANGLE)

    assert links.restricted(["a", "b", "c"]) is links
    assert links.restricted(["b", "a", "c"]).costs.toarray().tolist() == [[0, 1.5, 0], [1.5, 0, 0], [0, 0, 0]]


def test_a_matrix_of_3000_clients_is_checked_in_well_under_a_second() -> None:
    half = np.random.default_rng(1).random((3000, 3000), dtype=np.float32)
    rows = half + half.T
    np.fill_diagonal(rows, 0)
    names = [str(row) for row in range(3000)]

    started = time.process_time()
    links = Connectivity.from_matrix(names, rows, known=names)
    spent = time.process_time() - started

    assert links.num_edges == 3000 * 2999 // 2
    assert spent < 2  # 0.3 s on an idle core; the bound is for a shared one
