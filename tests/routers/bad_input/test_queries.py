"""Wrong queries: each is refused by the name of its parameter."""

import base64

import pytest

from tests.api import Api
from tests.routers.bad_input.faults import fault
from tests.routers.bad_input.values import DEEP, HUGE


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
        *((f"healthy={value}", "/query/healthy") for value in ("", "1", "yes", "True", "null", "%00")),
        *((f"breaker={value}", "/query/breaker") for value in ("", "half-open", "Closed", "%00", "open,closed")),
        *((f"tag={value}", "/query/tag/0") for value in ("", "site", ":north", "a%00:b", "a:b%0a", "x" * 600)),
        ("tag=a:b&tag=c", "/query/tag/1"),
        ("&".join(["tag=a:b"] * 65), "/query/tag"),
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
    "/v1/keys": [
        *LIMITS,
        *UNKNOWN,
        *((f"cursor={cursor(key)}", "/query/cursor") for key in ('["a"]', '[1,"a"]', '[NaN,"a"]', '[1.0,"a b"]')),
        *((f"role={value}", "/query/role") for value in ("", "root", "Admin", "%00")),
        *((f"state={value}", "/query/state") for value in ("", "gone", "%00")),
        *((f"client_id={value}", "/query/client_id") for value in ("", "a%20b", "%00", "x" * 65)),
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
