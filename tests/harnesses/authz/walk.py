"""Walk the OpenAPI document of a server: each operation as each caller."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.e2e.servers import call
from tests.harnesses.authz.callers import OWN, Caller, callers

ROLES = {"none", "invitation", "agent", "viewer", "operator", "admin"}
VALUES = {"client_id": OWN, "number": "1", "training_id": "0" * 16, "key_id": "0" * 12}
OTHERS = "none"
REVOKES = ("DELETE", "/v1/clients/{client_id}")
REFUSALS = {(401, "unauthenticated"), (401, "wrong-invitation"), (403, "forbidden")}
PROFILE = {"url": "http://10.0.0.7:9000", "data_size": 1, "compute_capacity": 1.0, "bandwidth": 1.0, "latency": 1.0}


@dataclass
class Outcome:
    """What a walk has found."""

    operations: int = 0
    calls: int = 0
    allowed: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.operations} operations, {self.calls} calls, of which {self.allowed} were allowed"


async def walk(
    api: httpx2.AsyncClient,
    anonymous: httpx2.AsyncClient,
    admin_key: str,
    pass_time: Callable[[], Awaitable[object]],
) -> Outcome:
    """Call each operation as each caller. `api` has the admin key, and `anonymous` no key."""
    outcome = Outcome()
    await call(api, "PUT", f"/v1/clients/{OWN}", json=PROFILE)
    document = (await api.get("/openapi.json")).json()
    found = await callers(api, admin_key, pass_time)
    for method, path, operation in operations(document):
        outcome.operations += 1
        if problems := unmarked(method, path, operation):
            outcome.problems += problems
            continue
        for caller in found:
            problems, admitted = await tried(anonymous, method, path, operation, caller)
            outcome.calls += 1
            outcome.allowed += admitted
            outcome.problems += problems
    return outcome


_KINDS = {401: "unauthenticated", 403: "forbidden"}


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """List the operations. Those that remove something come last, and last of all the one that revokes agents' keys."""
    every = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    yield from sorted(every, key=lambda one: (one[0] == "DELETE", one[:2] == REVOKES))


def unmarked(method: str, path: str, operation: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the mark of an operation."""
    marked = operation.get("x-tcsfeel-role") in ROLES
    if path.startswith("/v1/") and not marked:
        return [f"{method} {path} does not say which role it needs"]
    return []


async def tried(
    http: httpx2.AsyncClient, method: str, path: str, operation: Mapping[str, Any], caller: Caller
) -> tuple[list[str], bool]:
    """Call an operation. Returns what is wrong with the answer, and whether the caller was admitted.

    Most operations are called without a body. If the caller may call them, they answer that the body is wrong.
    """
    where = re.sub(r"\{(\w+)\}", lambda name: VALUES.get(name[1], OTHERS), path)
    headers = {} if caller.authorization is None else {"Authorization": caller.authorization}
    kind = ""
    async with http.stream(method, where, headers=headers) as answer:  # a stream of events has no end
        if answer.headers.get("Content-Type") == "application/problem+json":
            body = await answer.aread()  # which answers to HEAD do not have
            kind = json.loads(body)["type"].rpartition(":")[2] if body else _KINDS.get(answer.status_code, "")
    refused = (answer.status_code, kind) in REFUSALS
    expected = wanted(operation, caller, path)
    place = f"{method} {path} as {caller.name}: {answer.status_code} {kind}"
    if expected is None:
        wrong = refused or answer.is_server_error
        return [f"{place}, but the caller may call it"] if wrong else [], not refused
    if (answer.status_code, kind) != expected:
        return [f"{place}, not {expected[0]} {expected[1]}"], not refused
    documented = str(answer.status_code) in operation["responses"]
    return [] if documented else [f"{place}, which the document does not list"], False


def wanted(operation: Mapping[str, Any], caller: Caller, path: str) -> tuple[int, str] | None:
    """Give the refusal that the document asks for; None if the caller may call the operation."""
    if not path.startswith("/v1/") or caller.may(operation, OWN if "{client_id}" in path else None):
        return None
    if operation["x-tcsfeel-role"] == "invitation":
        return (401, "wrong-invitation")
    return (401, "unauthenticated") if caller.role in {None, "invitation"} else (403, "forbidden")
