"""Read bodies with long lists in pieces: batches of clients, and changes of links."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from app.domain.clients import Profile
from app.http.pieces import CUT, prefixed, validated, wrong
from app.http.requests import connectivity, edge, profile
from tcsfeel.contract.clients import BATCH_LABELS, BATCH_LIMIT, RegisterClient, RegisterClients
from tcsfeel.contract.connectivity import ChangeConnectivity, EdgeChange, EdgeIn, ReplaceConnectivity, Row
from tcsfeel.contract.fields import STRICT, ClientId, RequestModel
from tcsfeel.network.connectivity import Connectivity, Edge

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
    """Read the clients of a batch, and the instance of each. Raises `RequestValidationError`."""
    if len(body) <= CUT:
        small = parsed(RegisterClients, body).clients
        return [(client.id, profile(client)) for client in small], {client.id: client.instance for client in small}
    found: dict[str, Profile] = {}
    instances: dict[str, str | None] = {}
    labels = 0
    for _, clients in validated(body, {"clients": _CLIENTS}):
        for client in clients:
            own = profile(client)
            if found.setdefault(client.id, own) is not own:
                raise wrong("value_error", "clients", len(found), "id", said="is used twice in this batch")
            instances[client.id] = client.instance
            labels += len(client.data_distribution or ())
        if len(found) > BATCH_LIMIT:
            said = f"should have at most {BATCH_LIMIT} clients: send the others in another batch"
            raise wrong("value_error", "clients", said=said)
        if labels > BATCH_LABELS:
            said = f"should have at most {BATCH_LABELS} labels in all clients together: send some in another batch"
            raise wrong("value_error", "clients", said=said)
    if not found:
        raise wrong("missing", "clients")
    return list(found.items()), instances


def changes(body: memoryview) -> Iterable[Edge]:
    """Read the links to change. Raises `RequestValidationError`; for a long body, during the iteration."""
    if len(body) <= CUT:
        return [edge(change) for change in parsed(ChangeConnectivity, body).edges]
    return _Changes(body)


class _Changes:
    """The links of a long body. Each iteration reads them again, since as objects they would take gigabytes."""

    def __init__(self, body: memoryview) -> None:
        self._body = body

    def __iter__(self) -> Iterator[Edge]:
        number = 0
        for _, edges in validated(self._body, {"edges": _CHANGES}):
            number += len(edges)
            _bound("edges", number, MOST_CHANGES)
            yield from map(edge, edges)
        if not number:
            raise wrong("missing", "edges")


def replacement(body: memoryview, known: Collection[str]) -> Connectivity:
    """Read a matrix of some of the clients in `known`. Raises `RequestValidationError`, `InvalidConnectivity`."""
    if len(body) <= CUT:
        return connectivity(parsed(ReplaceConnectivity, body), known)
    parts = validated(body, _MATRIX)
    first = next(parts, None)
    given = parts if first is None else chain([first], parts)
    if first is not None and first[0] == "edges":
        return Connectivity.from_edges(sorted(known), _edges(given))
    members: dict[str, list[Any]] = {}
    for key, part in given:
        if key == "edges":
            raise wrong("value_error", min(members), said="cannot be combined with edges")
        whole = members.setdefault(key, [])
        whole += map(_packed, part) if key == "costs" else part
        _bound(key, len(whole), MOST_IDS)
    missing = {"client_ids", "costs"} - members.keys()
    if missing:
        raise wrong("missing", min(missing))
    return Connectivity.from_matrix(members["client_ids"], members["costs"], known=known)


def _edges(parts: Iterable[tuple[str, Any]]) -> Iterator[Edge]:
    """Yield the links of a matrix that is given as a list of links."""
    number = 0
    for key, edges in parts:
        if key != "edges":
            raise wrong("value_error", key, said="cannot be combined with edges")
        number += len(edges)
        _bound(key, number, MOST_EDGES)
        yield from map(edge, edges)


def parsed(model: type[Model], body: memoryview) -> Model:
    """Parse a small body at once. Raises `RequestValidationError`."""
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        raise prefixed(error) from None


def _packed(row: Sequence[float | None]) -> Any:
    """Convert a row to an array, which takes a quarter of the memory; a missing link becomes +inf."""
    return np.array([np.inf if cost is None else cost for cost in row], np.float64)


def _bound(key: str, number: int, most: int) -> None:
    if number > most:
        raise wrong("value_error", key, said=f"should have at most {most} items")
