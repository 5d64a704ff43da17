"""Which call of the REST API each method of gRPC is, and how requests and answers are converted."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from app.rpc.messages import filled, values
from tcsfeel.contract.fields import ID_PATTERN, PATTERN_RULES
from tcsfeel.contract.selections import PlanSelection
from tcsfeel.rest.problems import Refused

SHORT = 65_536  # bytes of a message that is quick to convert
MOST_BYTES = 2_000_000  # of a message, as the REST API allows for a selection

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RestCall:
    """A call of the REST API. Without a body, `body` is None."""

    method: str
    path: str
    body: Json | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method. Its messages are called after it, with ``Request`` and ``Response`` at the end.

    Attributes:
        call: makes the call of the REST API from a request, or raises `Refused` if there is none.
        answer: makes the fields of the response from the request and the JSON that the REST API answered.
        most_bytes: that the message of a call may have.
    """

    name: str
    call: Callable[[Message], RestCall]
    answer: Callable[[Message, Json], Json]
    most_bytes: int = SHORT

    def respond(self, request: Message, answered: Json) -> Message:
        """Make the response."""
        return filled(f"{self.name}Response", self.answer(request, answered))


def _plan(request: Message) -> RestCall:
    for field, value in request.ListFields():  # before they are converted, which would keep other calls waiting
        if field.name in {"exclude", "parameters"} and len(value) > PlanSelection.max_items:
            rule = f"{field.name} has {len(value)} values, and {PlanSelection.max_items} are the most"
            raise Refused(422, rule, type="urn:tcsfeel:problem:invalid")
    body = values(request)
    body.pop("with_skipped", None)
    if body.get("largest_multiple") == 0:
        body["largest_multiple"] = None
    return RestCall("POST", "/v1/selections", body)


def _planned(request: Message, answered: Json) -> Json:
    parents = answered["plan"]["parents"]
    skipped = answered["skipped"]
    return answered | {
        "selected": [one | {"parent": parents.get(one["client_id"])} for one in answered["selected"]],
        "skipped": skipped if values(request).get("with_skipped") else [],
        "skipped_count": len(skipped),
        "topology": answered["plan"]["topology"],
    }


def _report(request: Message) -> RestCall:
    body = {"success": True} | values(request)
    client_id = body.pop("client_id", "")
    if not re.fullmatch(ID_PATTERN, client_id):  # it becomes a part of a path
        raise Refused(422, f"client_id {PATTERN_RULES[ID_PATTERN]}", type="urn:tcsfeel:problem:invalid")
    if "new_reliability" in body:
        body["reliability"] = body.pop("new_reliability")
    return RestCall("POST", f"/v1/clients/{client_id}/outcomes", body)


def _describe(_request: Message) -> RestCall:
    return RestCall("GET", "/v1/topology")


def _described(request: Message, answered: Json) -> Json:
    return answered if values(request).get("with_betweenness") else answered | {"betweenness": {}}


OPERATIONS = (
    Operation("OptimizeTopology", _plan, _planned, MOST_BYTES),
    Operation("UpdateClientPerformance", _report, lambda _, answered: answered),
    Operation("GetTopologyStats", _describe, _described),
)
