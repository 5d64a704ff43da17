"""Wrong requests: each is refused with the name of what is wrong, and changes nothing.

One table for each operation: what is sent, and the pointers that the refusal names. A string of JSON text stands for
bodies that no JSON library would write.
"""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.api import PROBLEM, Api, profile

HUGE = "9" * 400
LONG = "x" * 100_000
DEEP = "[" * 100_000

Body = Any
Case = tuple[Body, str | tuple[str, ...]]


def text(body: Any, value: str) -> str:
    """JSON text of a body in which the string ``?`` stands for something that JSON cannot say."""
    return json.dumps(body).replace('"?"', value)


def one(field: str, *values: Any) -> Iterator[tuple[dict[str, Any], str]]:
    yield from (({field: value}, f"/{field}") for value in values)


def each(make: Callable[[Any], Body], pointer: str, *values: Any) -> Iterator[Case]:
    yield from ((make(value), pointer) for value in values)


NOT_A_NUMBER: tuple[Any, ...] = (None, True, "7", "", [], {}, [1])
NOT_A_COUNT: tuple[Any, ...] = (*NOT_A_NUMBER, 1.5, 7.0, -1, 10**400)
NOT_TEXT: tuple[Any, ...] = (7, True, [], {}, ["a"])
HOSTILE_TEXT = ("a\0b", "a\nb", "\x1b[31m", "\x7f", "\ud800", LONG)
NOT_AN_OBJECT: tuple[Any, ...] = (None, 7, "text", [], [[]], True)

PROFILE: list[tuple[dict[str, Any], str | tuple[str, ...]]] = [
    *one("url", None, *NOT_TEXT, *HOSTILE_TEXT, "", "10.0.0.7", "ftp://x", "http://", "http:///path", "//x", "http:x"),
    *one(
        "url", "http://x:0", "http://x:99999", "http://x:y", "http://u:p@x", "http://x?q", "http://x#f", "http://[::1"
    ),
    *one("url", "http://x y", " http://x", "http://x\n", "http://bücher", "HTTP://x", f"http://{'x' * 3000}"),
    *one("data_size", *NOT_A_COUNT, 0, 10**12 + 1),
    *one("compute_capacity", *NOT_A_NUMBER, 0, -1.0, 1e300, 5e-324, 10**400),
    *one("bandwidth", *NOT_A_NUMBER, 0, 0.0, -1.0, 1e300, 5e-324, 10**400),
    *one("latency", *NOT_A_NUMBER, -0.5, 1e300, 10**400),
    *one("reliability", *NOT_A_NUMBER, -0.1, 1.1, 10**400),
    *one("server_cost", True, "7", [], -1.0, 1e300),
    *one("data_distribution", 7, "text", True, [], {}, [0], [0.0, 0], {"a": 0}, [1e-300], [1] * 10_001),
    ({"data_distribution": [1, -1]}, "/data_distribution/1"),
    ({"data_distribution": [1, "2", None]}, ("/data_distribution/1", "/data_distribution/2")),
    ({"data_distribution": [[1]]}, "/data_distribution/0"),
    ({"data_distribution": {"a/b": True}}, "/data_distribution/a~1b"),
    ({"data_distribution": {"a~b": -1}}, "/data_distribution/a~0b"),
    ({"data_distribution": {"a\nb": 1}}, "/data_distribution/a\nb"),
    *one("tags", None, 7, "site:north", [], [["a", "b"]], {str(n): "" for n in range(65)}),
    ({"tags": {"site": 7, "rack": None}}, ("/tags/site", "/tags/rack")),
    ({"tags": {"": "x"}}, "/tags/"),
    ({"tags": {"a\0": "x"}}, "/tags/a\0"),
    ({"tags": {"a": "x" * 257, "b": "\0", "c": "\ud800"}}, ("/tags/a", "/tags/b", "/tags/c")),
    *one("auth_token", 7, True, [], "", "two words", "a\nb", "é", "\ud800", "x" * 4097),
    *one("unknown", None, 7, "x"),
    *one("status", "healthy"),
    *one("measured", {}),
    ({"": 1}, "/"),
]
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")
CLIENT_TEXTS = [
    *((text(profile(**{field: "?"}), number), f"/{field}") for number in NUMBERS for field in ("bandwidth", "latency")),
    (text(profile(data_size="?"), "NaN"), "/data_size"),
    (text(profile(data_size="?"), HUGE), "/data_size"),
    (text(profile(data_distribution=[1, "?"]), "NaN"), "/data_distribution/1"),
    (text(profile(bandwidth="?"), "9" * 5000), ""),
    (text(profile(tags="?"), '{"a":' * 50_000), ""),
]
IDS = one("id", None, *NOT_TEXT, "", "x" * 65, "a b", "a/b", "a\n", "\0", "é", "a:b", "\ud800", LONG)
NOT_JSON: list[Case] = [
    ("", ""),
    (" ", ""),
    ("{", ""),
    ('{"id":', ""),
    ("{'id': 'edge'}", ""),
    ("{} {}", ""),
    ("\0", ""),
    (b"\xff\xfe", ""),
    (b'{"id":"\xff"}', ""),
    (DEEP, ""),
    ('{"a":' * 100_000, ""),
    *((body, "") for body in NOT_AN_OBJECT),
]

DIVERGENCE = "/parameters/divergence_target"
RULES: list[Case] = [
    *one("strategy", None, *NOT_TEXT, "", "best", LONG, "\0"),
    *one("min_clients", *NOT_A_COUNT, 0, 100_001),
    *one("max_clients", *NOT_A_COUNT, 0, 100_001),
    ({"min_clients": 5, "max_clients": 4}, "/max_clients"),
    ({"min_clients": 31}, "/max_clients"),
    ({"max_clients": 9}, "/max_clients"),
    *one("budget_constraint", True, "7", [], 0, -1.0, 1e300),
    *one("weights", None, 7, [], "x"),
    ({"weights": {"fairness": -1}}, "/weights/fairness"),
    ({"weights": {"fairness": None, "compute": "1"}}, ("/weights/compute", "/weights/fairness")),
    ({"weights": {"speed": 1}}, "/weights/speed"),
    *one("parameters", None, 7, [], "x", {f"p{n}": n for n in range(101)}),
    *(({"parameters": {"divergence_target": value}}, DIVERGENCE) for value in NOT_A_NUMBER),
    ({"parameters": {"divergence_target": -1}}, DIVERGENCE),
    ({"strategy": "oort", "parameters": {"divergence_target": 1}}, DIVERGENCE),
    ({"strategy": "random", "parameters": {"a/b": 1, "\0": 2}}, ("/parameters/a~1b", "/parameters/\0")),
    ({"max_clients": 9, "parameters": {"factor": 1}}, ("/max_clients", "/parameters/factor")),
    *one("unknown", 1),
]


def under(prefix: str, pointers: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}{pointer}" for pointer in ((pointers,) if isinstance(pointers, str) else pointers))


def within(field: str, cases: list[Case]) -> Iterator[Case]:
    yield from (({field: body}, under(f"/{field}", pointers)) for body, pointers in cases)


SCALAR_TROUBLE: tuple[Any, ...] = ([], {}, [1], {"a": 1}, 2**53 + 1, -(10**400), "a\0", "\ud800", "x" * 1025)
HYPERPARAMETERS: list[Case] = [
    *one("local_epochs", *NOT_A_COUNT, 0, 10**7),
    *one("learning_rate", *NOT_A_NUMBER, 0, -1.0, 1e300),
    *one("batch_size", *NOT_A_COUNT, 0),
    *one("proximal_mu", True, "7", [], -0.1),
    *one("server_learning_rate", True, "7", 0),
    *one("server_momentum", True, "7", 1, -0.1),
    *one("server_second_momentum", True, "7", 1, -0.1),
    *one("server_adaptivity", True, "7", 0, -0.1),
    *one("server_clip_norm", True, "7", 0, -0.1, 1e300),
    *one("server_trim_fraction", True, "7", 0, 0.5, -0.1),
    *one("server_byzantine_clients", True, "7", 1.5, -1, 10**6),
    *one("mine", *SCALAR_TROUBLE),
    ({"": 1}, "/"),
    ({"a\0": 1}, "/a\0"),
    ({"x" * 257: 1}, "/" + "x" * 257),
    ({f"key{n}": n for n in range(257)}, ""),
]
TRAINING: list[Case] = [
    *one("name", None, *NOT_TEXT, "", "x" * 257, *HOSTILE_TEXT),
    *one("target_accuracy", True, "0.9", [], 0, -0.1, 1.1),
    *one("max_rounds", True, "7", 7.0, 0, -1, 10**7, 10**400),
    *one("aggregation", None, *NOT_TEXT, "", "mean", LONG),
    *one("topology", None, *NOT_TEXT, "relay", "ring"),
    *one("seed", *NOT_A_COUNT, 2**53),
    *one("selection", None, 7, [], "x"),
    *within("selection", RULES),
    *one("hyperparameters", None, 7, [], "x"),
    *within("hyperparameters", HYPERPARAMETERS),
    *one("round_policy", None, 7, [], "x"),
    *within(
        "round_policy",
        [
            *one("deadline_seconds", *NOT_A_NUMBER, 0, -1, 1e300),
            *one("quorum", *NOT_A_NUMBER, 0, 1.1, -1),
            *one("over_selection", *NOT_A_NUMBER, 0.9, 11),
            *one("grace_seconds", *NOT_A_NUMBER, -1, 1e300),
            *one("max_failed_rounds", *NOT_A_COUNT, 0),
            *one("unknown", 1),
        ],
    ),
    *one("evaluation", None, 7, [], "x"),
    *within("evaluation", [*one("clients", *NOT_A_COUNT, 100_001), *one("unknown", 1)]),
    *one("uploads", None, 7, [], "int8"),
    *within(
        "uploads",
        [
            *one("encoding", None, *NOT_TEXT, "", "INT8", "int4", LONG),
            *one("compression", None, *NOT_TEXT, "", "gzip", "ZSTD", True, LONG),
            *one("unknown", 1),
        ],
    ),
    ({"aggregation": "krum", "selection": {"min_clients": 1, "max_clients": 4}}, "/selection/max_clients"),
    (
        {"aggregation": "multi_krum", "hyperparameters": {"server_byzantine_clients": 14}},  # 31 of at most 30
        "/selection/max_clients",
    ),
    *one("unknown", 1),
    *one("status", "running"),
]
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

required = ("/url", "/data_size", "/compute_capacity", "/bandwidth", "/latency")

OPERATIONS: dict[str, list[Case]] = {
    "POST /v1/clients": [
        *((profile(**change), pointers) for change, pointers in PROFILE),
        *((profile(**change), pointers) for change, pointers in IDS),
        *CLIENT_TEXTS,
        *NOT_JSON,
        ({}, required),
    ],
    "PUT /v1/clients/edge-7": [
        *((profile(**change), pointers) for change, pointers in PROFILE),
        *((profile(id=value), "/id") for value in ("edge-8", "", 7, "a b")),
        *CLIENT_TEXTS,
        *NOT_JSON,
        ({}, required),
    ],
    "PATCH /v1/clients/edge-7": [
        *((change, pointers) for change, pointers in PROFILE),
        *one("id", "edge-7"),
        (text({"bandwidth": "?"}, "NaN"), "/bandwidth"),
        *NOT_JSON,
    ],
    "POST /v1/clients/batch": [
        *(
            ({"clients": [profile(id="new"), profile(**change)]}, under("/clients/1", pointers))
            for change, pointers in PROFILE[::5]
        ),
        *one("clients", None, 7, "x", {}, []),
        *each(lambda value: {"clients": [profile(id="new"), value]}, "/clients/1", *NOT_AN_OBJECT),
        ({"clients": [profile(id="a"), profile(id="b"), profile(id="a")]}, "/clients/2/id"),
        ({"clients": [profile()], "unknown": 1}, "/unknown"),
        ({}, "/clients"),
        *NOT_JSON,
    ],
    "POST /v1/clients/edge-7/heartbeat": [
        *one("bandwidth", True, "7", [], 0, -1.0, 1e300, 10**400),
        *one("latency", True, "7", [], -1.0, 1e300),
        *one("status", "healthy"),
        *((text({"bandwidth": "?"}, number), "/bandwidth") for number in NUMBERS),
        *(case for case in NOT_JSON if case[0] not in ("", None)),
    ],
    "PUT /v1/connectivity": [*MATRIX, *NOT_JSON],
    "PATCH /v1/connectivity": [
        *COMMON_EDGES,
        *one("edges", None, []),
        ({}, "/edges"),
        *NOT_JSON,
    ],
    "POST /v1/selections": [
        *RULES,
        *one("round_number", *NOT_A_COUNT, 0, 2**31),
        *one("seed", *NOT_A_COUNT, 2**53),
        *one("exclude", None, 7, "edge-7", {}),
        ({"exclude": ["edge-7", 8, "a b"]}, ("/exclude/1", "/exclude/2")),
        *one("model_bytes", *NOT_A_COUNT, 0, 10**14),
        *((text({"budget_constraint": "?"}, number), "/budget_constraint") for number in NUMBERS),
        *((text({"parameters": {"divergence_target": "?"}}, number), DIVERGENCE) for number in NUMBERS),
        *NOT_JSON,
    ],
    "POST /v1/trainings": [
        *(({"name": "digits"} | change, pointers) for change, pointers in TRAINING),
        ({}, "/name"),
        *((text({"name": "x", "target_accuracy": "?"}, number), "/target_accuracy") for number in NUMBERS),
        *(
            (text({"name": "x", "hyperparameters": {"mine": "?"}}, number), "/hyperparameters/mine")
            for number in NUMBERS
        ),
        *NOT_JSON,
    ],
}


async def send(api: Api, operation: str, body: Body) -> httpx.Response:
    method, path = operation.split()
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return await api.http.request(method, path, content=content, headers={"Content-Type": "application/json"})


def fault(response: httpx.Response, status: int, *pointers: str) -> str | None:
    """What is wrong with a refusal."""
    if response.status_code != status:
        return f"answered {response.status_code}"
    if response.headers["Content-Type"] != PROBLEM:
        return f"answered {response.headers['Content-Type']}"
    found = {error["pointer"] for error in response.json().get("errors", [])}
    # A lone surrogate cannot be in an answer either.
    wanted = {pointer.encode(errors="replace").decode() for pointer in pointers}
    return None if found == wanted else f"names {sorted(found)}"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_wrong_body_is_refused_by_the_name_of_its_field_and_changes_nothing(api: Api, operation: str) -> None:
    await api.register("edge-7", "edge-8")
    before = await api.stored()
    faults = []
    for body, pointers in OPERATIONS[operation]:
        response = await send(api, operation, body)
        named = (pointers,) if isinstance(pointers, str) else pointers
        if problem := fault(response, 422, *named):
            faults.append(f"{str(body)[:120]}: {problem}, not {named}")
    assert faults == []
    assert await api.stored() == before


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_body_of_another_kind_answers_415(sqlite_api: Api, operation: str) -> None:
    before = await sqlite_api.stored()
    method, path = operation.split()
    for media_type in (None, "text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"):
        headers = {} if media_type is None else {"Content-Type": media_type}
        response = await sqlite_api.http.request(method, path, content=b'{"a": 1}', headers=headers)
        assert fault(response, 415, "/header/content-type") is None, media_type
    assert await sqlite_api.stored() == before


def cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


LIMITS = [
    (f"limit={limit}", "/query/limit") for limit in ("", "0", "-1", "1001", "x", "1.5", "1e3", HUGE, "%00", "NaN")
]
UNKNOWN = [("unknown=1", "/query/unknown"), ("Limit=5", "/query/Limit"), ("limit=5&%00=1", "/query/\0")]
CURSORS = [
    "",
    "x",
    "!",
    "%00",
    "é",
    cursor("null"),
    cursor("{}"),
    cursor("[]"),
    cursor(DEEP[:300]),
    "A" * 513,
    cursor("x"),
]
QUERIES: dict[str, list[tuple[str, str]]] = {
    "/v1/clients": [
        *LIMITS,
        *UNKNOWN,
        *((f"cursor={value}", "/query/cursor") for value in CURSORS),
        *(
            (f"cursor={cursor(key)}", "/query/cursor")
            for key in ('["a","b"]', "[1]", '["\\ud800"]', '["a\\u0000"]', "[NaN]")
        ),
        *((f"status={value}", "/query/status") for value in ("", "up", "Healthy", "%00", "healthy,down")),
        *((f"tag={value}", "/query/tag/0") for value in ("", "site", ":north", "a%00:b", "a:b%0a", "x" * 600)),
        ("tag=a:b&tag=c", "/query/tag/1"),
    ],
    "/v1/trainings": [
        *LIMITS,
        *UNKNOWN,
        *((f"cursor={value}", "/query/cursor") for value in CURSORS),
        *(
            (f"cursor={cursor(key)}", "/query/cursor")
            for key in ('["a"]', '[1,"a"]', '[NaN,"a"]', '[1e999,"a"]', '[1.0,"\\ud800"]', "[1.0,2]", '[true,"a"]')
        ),
    ],
    "/v1/trainings/{training}/rounds": [
        *LIMITS,
        *UNKNOWN,
        *((f"cursor={value}", "/query/cursor") for value in CURSORS),
        *(
            (f"cursor={cursor(key)}", "/query/cursor")
            for key in ("[1.0]", "[true]", '["1"]', "[-1]", f"[{HUGE}]", "[2147483648]")
        ),
    ],
    "/v1/trainings/{training}/model": [
        *((f"round={value}", "/query/round") for value in ("", "-1", "x", "1.5", HUGE, "2147483648", "NaN", "%00")),
        ("number=1", "/query/number"),
    ],
    "/v1/clients/edge-7": [("unknown=1", "/query/unknown")],
    "/v1/connectivity": [("version=1", "/query/version")],
    "/v1/topology": [("a=1", "/query/a")],
}


@pytest.mark.parametrize("path", QUERIES)
async def test_a_wrong_query_is_refused_by_the_name_of_its_parameter(api: Api, path: str) -> None:
    await api.register("edge-7")
    place = path.format(training=await api.create_training())
    faults = []
    for query, pointer in QUERIES[path]:
        if problem := fault(await api.http.get(f"{place}?{query}"), 422, pointer):
            faults.append(f"{query[:100]}: {problem}")
    assert faults == []


BAD_IDS = ("%00", "a%00b", "a%20b", "a%0a", "%ed%a0%80", "%c3%a9", "x" * 65, "a:b", "*", "%ff", "a%25b")
ID_PATHS = [
    ("GET", "/v1/clients/{id}", "/path/client_id"),
    ("DELETE", "/v1/clients/{id}", "/path/client_id"),
    ("POST", "/v1/clients/{id}/heartbeat", "/path/client_id"),
    ("GET", "/v1/clients/{id}/breaker", "/path/client_id"),
    ("POST", "/v1/clients/{id}/breaker/open", "/path/client_id"),
    ("POST", "/v1/clients/{id}/breaker/reset", "/path/client_id"),
    ("GET", "/v1/trainings/{id}", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/start", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/pause", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/resume", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/cancel", "/path/training_id"),
    ("GET", "/v1/trainings/{id}/rounds", "/path/training_id"),
    ("POST", "/v1/trainings/{id}/rounds", "/path/training_id"),
    ("GET", "/v1/trainings/{id}/rounds/1", "/path/training_id"),
    ("GET", "/v1/trainings/{id}/model", "/path/training_id"),
    ("PUT", "/v1/trainings/{id}/model", "/path/training_id"),
]


async def test_a_wrong_id_in_the_path_is_refused(sqlite_api: Api) -> None:
    for method, path, pointer in ID_PATHS:
        for value in BAD_IDS:
            response = await sqlite_api.http.request(method, path.format(id=value))
            assert fault(response, 422, pointer) is None, (method, path, value)


async def test_a_wrong_round_number_is_refused(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    for number in ("0", "-1", "x", "1.5", "2147483648", HUGE, "%00", "NaN", "1%0a2"):
        response = await sqlite_api.http.get(f"/v1/trainings/{training_id}/rounds/{number}")
        assert fault(response, 422, "/path/number") is None, number


async def test_a_wrong_idempotency_key_is_refused(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    before = await sqlite_api.stored()
    for key in ("", " ", "a b", "x" * 256, "é", "a\tb"):
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        for path in ("/v1/trainings", f"/v1/trainings/{training_id}/rounds"):
            response = await sqlite_api.http.post(path, json={"name": "digits"}, headers=headers)
            assert fault(response, 422, "/header/idempotency-key") is None, key
    assert await sqlite_api.stored() == before


@pytest.mark.parametrize(("header", "path"), [("Prefer", "rounds"), ("If-None-Match", "model")])
async def test_a_header_without_end_is_refused(sqlite_api: Api, header: str, path: str) -> None:
    training_id = await sqlite_api.create_training()
    method = "POST" if path == "rounds" else "GET"
    response = await sqlite_api.http.request(
        method, f"/v1/trainings/{training_id}/{path}", headers={header: "wait=1," * 1000}
    )
    assert fault(response, 422, f"/header/{header.lower()}") is None
