"""Wrong bodies: each is refused with the names of what is wrong, and changes nothing.

One table for each operation: what is sent, and the pointers that the refusal names. A string of JSON text stands for
bodies that no JSON library would write.
"""

import json

import httpx2
import pytest

from tests.api import Api, profile
from tests.routers.bad_input.clients import CLIENT_TEXTS, IDS, OUTCOME, PROFILE
from tests.routers.bad_input.faults import fault
from tests.routers.bad_input.invitations import INVITATION, LIFETIMES
from tests.routers.bad_input.keys import KEY
from tests.routers.bad_input.links import COMMON_EDGES, MATRIX
from tests.routers.bad_input.trainings import DIVERGENCE, RULES, TRAINING
from tests.routers.bad_input.values import (
    NOT_A_COUNT,
    NOT_AN_OBJECT,
    NOT_JSON,
    NUMBERS,
    Body,
    Case,
    each,
    one,
    text,
    under,
)
from tests.routers.bad_input.webhooks import WEBHOOK

# whose parser does not take half of a surrogate pair, and does not say where it is
READ_BY_PYDANTIC = {"POST /v1/clients/batch", "PUT /v1/connectivity", "PATCH /v1/connectivity"}
# for an operation that needs no body
NOT_JSON_IF_ANY = [case for case in NOT_JSON if case[0] not in ("", None)]
required = ("/data_size", "/compute_capacity", "/bandwidth", "/latency")

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
        *NOT_JSON_IF_ANY,
    ],
    "POST /v1/clients/edge-7/outcomes": [
        *(({"success": False} | change, pointers) for change, pointers in OUTCOME),
        ({"success": True, "reason": "x"}, "/reason"),
        ({"success": True, "kind": "faulty", "reason": "x"}, ("/kind", "/reason")),
        ({"success": True, "phase": "evaluate", "update_quality": 0.5}, "/update_quality"),
        ({"success": False, "slow": True, "update_quality": 0.5}, ("/slow", "/update_quality")),
        *((text({"success": True, "seconds": "?"}, number), "/seconds") for number in NUMBERS),
        ({}, "/success"),
        *NOT_JSON,
    ],
    "POST /v1/invitations": [*INVITATION, *NOT_JSON_IF_ANY],
    "POST /v1/clients/edge-7/replacement": [*LIFETIMES, *one("uses", 2), *NOT_JSON_IF_ANY],
    "POST /v1/webhooks": [*(({"url": "http://a"} | change, at) for change, at in WEBHOOK), ({}, "/url"), *NOT_JSON],
    "PATCH /v1/webhooks/9f2c": [*WEBHOOK, *one("types", None), *one("enabled", None, 1, "true"), *NOT_JSON],
    "POST /v1/webhooks/9f2c/redeliver": [
        *one("event_ids", 7, "7", {}, [0] * 1001),
        *((({"event_ids": [1, value]}), "/event_ids/1") for value in (True, "7", 0, -1, 1.5, 2**63)),
        *one("all", True),
        *NOT_JSON_IF_ANY,
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
        ({"exclude": ["edge-7", 8, "a b"]}, "/exclude/1"),
        *one("model_bytes", *NOT_A_COUNT, 0, 10**14),
        *((text({"budget_constraint": "?"}, number), "/budget_constraint") for number in NUMBERS),
        *((text({"parameters": {"divergence_target": "?"}}, number), DIVERGENCE) for number in NUMBERS),
        *NOT_JSON_IF_ANY,
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
    "POST /v1/keys": [*(({"name": "ci", "role": "viewer"} | change, pointers) for change, pointers in KEY), *NOT_JSON],
}


async def send(api: Api, operation: str, body: Body) -> httpx2.Response:
    method, path = operation.split()
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return await api.http.request(method, path, content=content, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_wrong_body_is_refused_by_the_name_of_its_field_and_changes_nothing(api: Api, operation: str) -> None:
    await api.register("edge-7", "edge-8")
    before = await api.stored()
    faults = []
    for body, pointers in OPERATIONS[operation]:
        response = await send(api, operation, body)
        unread = operation in READ_BY_PYDANTIC and "\\ud800" in json.dumps(str(body))
        named = ("",) if unread else (pointers,) if isinstance(pointers, str) else pointers
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
