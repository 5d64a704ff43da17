"""The REST API breaks no program that was written for the last release, and the comparison notices if it does."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.http.compatibility import breaks, shape

Document = dict[str, Any]
KEPT = Path(__file__).parent / "released.json"
WHAT_TO_DO = (
    "These changes break programs that use the last release. Keep the old form beside the new one, and deprecate it "
    "(CONTRIBUTING.md, What an API may change). If a release is meant to break them, its major version changes, and "
    "`make released` keeps the new form"
)


@pytest.fixture
def kept() -> Document:
    found: Document = json.loads(KEPT.read_text())
    return found


def test_the_api_breaks_no_program_of_the_last_release(document: Document, kept: Document) -> None:
    found = breaks(kept, shape(document))
    assert not found, "\n".join([WHAT_TO_DO, *found])


def schema(document: Document, name: str) -> Document:
    found: Document = document["components"]["schemas"][name]
    return found


def listing(document: Document) -> Document:
    found: Document = document["paths"]["/v1/clients"]["get"]
    return found


def parameter(document: Document, name: str) -> Document:
    (found,) = [one for one in listing(document)["parameters"] if one["name"] == name]
    typed: Document = found
    return typed


BREAKING: dict[str, tuple[Callable[[Document], Any], str]] = {
    "an operation": (lambda d: d["paths"]["/v1/clients"].pop("post"), "POST /v1/clients is removed"),
    "a path": (lambda d: d["paths"].pop("/v1/topology"), "GET /v1/topology is removed"),
    "a role": (
        lambda d: listing(d).update({"x-tcsfeel-role": "admin"}),
        "GET /v1/clients needs the role admin now, not viewer",
    ),
    "a parameter": (
        lambda d: listing(d)["parameters"].remove(parameter(d, "tag")),
        "GET /v1/clients: the parameter tag (query) is removed",
    ),
    "a required parameter": (
        lambda d: parameter(d, "limit").update(required=True),
        "GET /v1/clients: the parameter limit (query) is required now",
    ),
    "a value of a parameter": (
        lambda d: parameter(d, "status")["schema"]["anyOf"][0]["enum"].remove("down"),
        "GET /v1/clients: the parameter status (query): the value 'down' is removed",
    ),
    "a field of an answer": (
        lambda d: schema(d, "ClientOut")["properties"].pop("measured"),
        "ClientOut: the field measured is removed",
    ),
    "a field that may be absent": (
        lambda d: schema(d, "ClientOut")["required"].remove("measured"),
        "ClientOut: the field measured may be absent now",
    ),
    "a null in an answer": (
        lambda d: schema(d, "ClientOut")["properties"]["data_size"].update(
            anyOf=[{"type": "integer"}, {"type": "null"}]
        ),
        "ClientOut.data_size may be null now",
    ),
    "a value of an answer": (
        lambda d: schema(d, "BreakerOut")["properties"]["state"]["enum"].remove("half_open"),
        "BreakerOut.state: the value 'half_open' is removed",
    ),
    "another type in an answer": (
        lambda d: schema(d, "BreakerOut")["properties"].update(openings={"type": "string"}),
        "BreakerOut.openings may be string now",
    ),
    "a field of a request": (
        lambda d: schema(d, "RegisterClient")["properties"].pop("tags"),
        "RegisterClient: the field tags is removed",
    ),
    "a required field": (
        lambda d: schema(d, "RegisterClient")["required"].append("tags"),
        "RegisterClient: the field tags is required now",
    ),
    "a null in a request": (
        lambda d: schema(d, "Heartbeat")["properties"]["latency"]["anyOf"].pop(),
        "POST /v1/clients/{client_id}/heartbeat, body.latency may not be null any more",
    ),
    "a bound": (
        lambda d: schema(d, "RegisterClient")["properties"]["latency"].update(maximum=10),
        "RegisterClient.latency: maximum is 10 now, and was 1000000000.0",
    ),
    "a new bound": (
        lambda d: schema(d, "RegisterClient")["properties"]["latency"].update(exclusiveMinimum=0),
        "RegisterClient.latency: exclusiveMinimum is 0 now, and was not set",
    ),
    "a body": (
        lambda d: d["paths"]["/v1/selections"]["post"]["requestBody"].update(required=True),
        "POST /v1/selections: a body is required now",
    ),
    "a media type": (
        lambda d: d["paths"]["/v1/connectivity"]["put"]["requestBody"]["content"].pop("application/vnd.safetensors"),
        "PUT /v1/connectivity, body: application/vnd.safetensors is removed",
    ),
    "a status": (
        lambda d: d["paths"]["/v1/clients/{client_id}"]["put"]["responses"].pop("201"),
        "PUT /v1/clients/{client_id} does not answer 201 any more",
    ),
}


@pytest.mark.parametrize("removed", BREAKING)
def test_a_change_that_breaks_programs_is_found_and_named(kept: Document, removed: str) -> None:
    change, told = BREAKING[removed]
    changed = copy.deepcopy(kept)
    change(changed)
    assert breaks(kept, changed) == [told]


def test_changes_that_break_nothing_are_allowed(kept: Document) -> None:
    changed = copy.deepcopy(kept)
    changed["paths"]["/v1/more"] = {"get": {"responses": {"200": {}}}}
    schema(changed, "RegisterClient")["properties"]["more"] = {"type": "string"}
    schema(changed, "RegisterClient")["properties"]["latency"]["maximum"] = 1e12
    schema(changed, "RegisterClient")["required"].remove("latency")
    schema(changed, "ClientOut")["properties"]["more"] = {"type": "string"}
    schema(changed, "ClientOut")["required"].append("more")
    parameter(changed, "status")["schema"]["anyOf"][0]["enum"].append("asleep")
    listing(changed)["parameters"].append({"name": "more", "in": "query", "schema": {"type": "string"}})
    listing(changed)["x-tcsfeel-role"] = "none"
    assert breaks(kept, changed) == []


def test_texts_for_people_are_not_kept(kept: Document) -> None:
    assert "title" in schema(kept, "Problem")["properties"]
    assert "description" not in listing(kept)
