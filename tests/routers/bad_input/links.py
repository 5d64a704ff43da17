"""Wrong edges and matrices."""

from typing import Any

from tests.routers.bad_input.values import NUMBERS, Case, each, one, text

EDGE = {"source": "edge-7", "target": "edge-8", "cost": 1.0}


def edges(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"edges": [EDGE | change for change in changes]}


COMMON_EDGES: list[Case] = [
    *one("edges", 7, "x", True, {}),
    *each(lambda value: {"edges": [value]}, "/edges/0", None, 7, [], "x", ["edge-7", "edge-8", 1.0]),
    ({"edges": [{}]}, ("/edges/0/source", "/edges/0/target", "/edges/0/cost")),
    *each(lambda value: edges({"cost": value}), "/edges/0/cost", True, "1", [], -1, -1e-9, 1e39, 10**400),
    *(
        (edges({}, {name: value}), f"/edges/1/{name}")
        for name in ("source", "target")
        for value in (7, "", "a b", None)
    ),
    (edges({"source": "nobody"}), "/edges/0/source"),
    (edges({"target": "nobody"}), "/edges/0/target"),
    (edges({"target": "edge-7"}), "/edges/0/target"),
    (edges({}, {"source": "edge-8", "target": "edge-7", "cost": 2.0}), "/edges/1/cost"),
    (edges({"unknown": 1}), "/edges/0/unknown"),
    *((text(edges({"cost": "?"}), number), "/edges/0/cost") for number in NUMBERS),
    (edges({}) | {"unknown": 1}, "/unknown"),
]
PAIR = ["edge-7", "edge-8"]
LINK = [[0, 1], [1, 0]]


def matrix(costs: Any, client_ids: Any = PAIR) -> dict[str, Any]:
    return {"client_ids": client_ids, "costs": costs}


MATRIX: list[Case] = [
    ({}, ("/client_ids", "/costs")),
    ({"client_ids": PAIR}, "/costs"),
    ({"costs": LINK}, "/client_ids"),
    (matrix(LINK) | {"edges": []}, ("/client_ids", "/costs")),
    (edges({}) | {"costs": LINK}, "/costs"),
    (edges({"cost": None}), "/edges/0/cost"),
    *each(matrix, "/costs", 7, "x", {}, [], [[0, 1]], [[0, 1], [1, 0], [0, 0]]),
    *each(matrix, "/costs/1", [[0, 1], 7], [[0, 1], None], [[0, 1], [1]], [[0, 1], [1, 0, 0]]),
    *each(lambda value: matrix([[0, value], [1, 0]]), "/costs/0/1", True, "1", [], 2, None, -1, 1.0001, 10**400),
    *each(lambda value: matrix([[0, value], [value, 0]]), "/costs/0/1", -1, -1e-30, 1e39),
    *((text(matrix([[0, "?"], ["?", 0]]), number), "/costs/0/1") for number in NUMBERS),
    *each(lambda value: matrix([[0, 1], [1, value]]), "/costs/1/1", 1, 1e-30),
    *each(lambda ids: matrix(LINK, ids), "/client_ids/1", ["edge-7", "edge-7"], ["edge-7", "nobody"], ["edge-7", 8]),
    *each(lambda ids: matrix(LINK, ids), "/client_ids", 7, "edge-7", {}),
    (matrix(LINK, ["edge-7", "\0"]), "/client_ids/1"),
    (matrix(LINK, PAIR[:1]), "/costs"),
    (matrix([[0]], ["\ud800"]), ""),
    *COMMON_EDGES,
]
