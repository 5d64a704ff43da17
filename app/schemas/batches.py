"""Bodies with long lists, read a piece at a time: batches of clients, and changes of links."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from app.domain.clients import Profile
from app.domain.connectivity import Edge
from app.schemas.clients import BATCH_LABELS, BATCH_LIMIT, RegisterClient, RegisterClients
from app.schemas.connectivity import ChangeConnectivity, EdgeChange, EdgeIn, ReplaceConnectivity, Row
from app.schemas.fields import STRICT, ClientId, RequestModel
from app.schemas.pieces import CUT, prefixed, validated, wrong

Model = TypeVar("Model", bound=RequestModel)

_CLIENTS: TypeAdapter[list[RegisterClient]] = TypeAdapter(list[RegisterClient])
_CHANGES: TypeAdapter[list[EdgeChange]] = TypeAdapter(Annotated[list[EdgeChange], Field(fail_fast=True)])
_MATRIX: dict[str, TypeAdapter[Any]] = {
    "client_ids": TypeAdapter(Annotated[list[ClientId], Field(fail_fast=True)], config=STRICT),
    "costs": TypeAdapter(Annotated[list[Row], Field(fail_fast=True)], config=STRICT),
    "edges": TypeAdapter(Annotated[list[EdgeIn], Field(fail_fast=True)]),
}
MOST_IDS = 50_000
MOST_EDGES = 10_000_000
MOST_CHANGES = 1_000_000


Registrations = tuple[list[tuple[str, Profile]], dict[str, str | None]]


def registrations(body: memoryview) -> Registrations:
    """The clients of a batch, and the instance of each. Raises `RequestValidationError`."""
    if len(body) <= CUT:
        small = parsed(RegisterClients, body).clients
        return [(client.id, client.profile()) for client in small], {client.id: client.instance for client in small}
    found: dict[str, Profile] = {}
    instances: dict[str, str | None] = {}
    labels = 0
    for _, clients in validated(body, {"clients": _CLIENTS}):
        for client in clients:
            if found.setdefault(client.id, profile := client.profile()) is not profile:
                raise wrong("value_error", "clients", len(found), "id", said="is the id of another one too")
            instances[client.id] = client.instance
            labels += len(client.data_distribution or ())
        if len(found) > BATCH_LIMIT or labels > BATCH_LABELS:
            limits = f"{BATCH_LIMIT} clients, with {BATCH_LABELS} labels together"
            raise wrong("value_error", "clients", said=f"should have at most {limits}")
    if not found:
        raise wrong("missing", "clients")
    return list(found.items()), instances


def changes(body: memoryview) -> list[Edge]:
    """The links to change. Raises `RequestValidationError`."""
    if len(body) <= CUT:
        return [edge.edge() for edge in parsed(ChangeConnectivity, body).edges]
    found: list[Edge] = []
    for _, edges in validated(body, {"edges": _CHANGES}):
        found += [edge.edge() for edge in edges]
        _bound("edges", found, MOST_CHANGES)
    if not found:
        raise wrong("missing", "edges")
    return found


def replacement(body: memoryview) -> ReplaceConnectivity:
    """A whole matrix, its rows as arrays. Raises `RequestValidationError`."""
    if len(body) <= CUT:
        return parsed(ReplaceConnectivity, body)
    members: dict[str, list[Any]] = {}
    for key, part in validated(body, _MATRIX):
        whole = members.setdefault(key, [])
        whole += map(_packed, part) if key == "costs" else part
        _bound(key, whole, MOST_EDGES if key == "edges" else MOST_IDS)
    missing = {"client_ids", "costs"} - members.keys()
    if "edges" in members and len(missing) < len(members):
        raise wrong("value_error", *sorted(members.keys() - {"edges"})[:1], said="excludes edges")
    if "edges" not in members and missing:
        raise wrong("missing", min(missing))
    named = {name: members.get(name) for name in _MATRIX}
    return ReplaceConnectivity.model_construct(None, **named)


def parsed(model: type[Model], body: memoryview) -> Model:
    """A small body. Raises `RequestValidationError`."""
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        raise prefixed(error) from None


def _packed(row: Sequence[float | None]) -> Any:
    """A row in a quarter of the memory; no link is +inf."""
    return np.array([np.inf if cost is None else cost for cost in row], np.float64)


def _bound(key: str, whole: list[Any], most: int) -> None:
    if len(whole) > most:
        raise wrong("value_error", key, said=f"should have at most {most} items")
