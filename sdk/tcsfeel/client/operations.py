"""The operations of the REST API, one function for each, with the names that the OpenAPI document uses.

Each function is a call (`tcsfeel.rest.exchange`), from which `Client` and `AsyncClient` make a method. A body is passed
as a model of `tcsfeel.contract`, or as its fields by keyword.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from tcsfeel.client.messages import call, part_of, read, with_body
from tcsfeel.contract.audit import AuditHeadOut, AuditRecordOut
from tcsfeel.contract.clients import (
    ChangeClient,
    ClientOut,
    ClientsOut,
    Heartbeat,
    RegisterClient,
    RegisterClients,
    ReplaceClient,
)
from tcsfeel.contract.connectivity import (
    ChangeConnectivity,
    ConnectivityOut,
    ConnectivityVersion,
    ReplaceConnectivity,
    TopologyOut,
)
from tcsfeel.contract.models import ListedModelOut
from tcsfeel.contract.operations import Health, Ready
from tcsfeel.contract.pages import Page
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.selections import PlanSelection, RoundSelectionOut, SelectionOut
from tcsfeel.contract.strategies import StrategiesOut
from tcsfeel.contract.training_changes import ChangeTraining
from tcsfeel.contract.trainings import CreateTraining, TrainingOut
from tcsfeel.rest.exchange import Answer, Request, Steps
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import refusal

LIMIT = 100  # items of a page by default
NOT_MODIFIED = 304
UNREADY = 503


def register_client(profile: RegisterClient | None = None, **fields: Any) -> Steps[ClientOut]:
    """Register a client."""
    request = yield from with_body(Request("POST", "/v1/clients"), RegisterClient, profile, fields)
    return (yield from call(ClientOut, request))


def register_clients(
    batch: RegisterClients | None = None, *, clients: Sequence[RegisterClient | dict[str, Any]] = ()
) -> Steps[ClientsOut]:
    """Register up to 10 000 clients, all or none."""
    fields = {} if batch is not None else {"clients": list(clients)}
    request = yield from with_body(Request("POST", "/v1/clients/batch"), RegisterClients, batch, fields)
    return (yield from call(ClientsOut, request))


def list_clients(
    *,
    status: Literal["healthy", "suspect", "down"] | None = None,
    healthy: bool | None = None,
    breaker: Literal["closed", "open", "half_open"] | None = None,
    tags: Sequence[str] = (),
    limit: int = LIMIT,
    cursor: str | None = None,
) -> Steps[Page[ClientOut]]:
    """Read one page of the clients, in the order of their ids.

    Only clients with all `tags` (`key:value`, one or several) are listed. `healthy` chooses those that are healthy or
    those that are not, and `breaker` those whose breaker is in this state.
    """
    wanted = [tags] if isinstance(tags, str) else tags
    params = [*([("status", status)] if status else []), *(("tag", tag) for tag in wanted), *part_of(limit, cursor)]
    params += [] if healthy is None else [("healthy", "true" if healthy else "false")]
    params += [] if breaker is None else [("breaker", breaker)]
    return (yield from call(Page[ClientOut], _get("/v1/clients", params)))


def get_client(client_id: str) -> Steps[ClientOut]:
    """Read a client."""
    return (yield from call(ClientOut, _get(path("/v1/clients/{client_id}", client_id))))


def put_client(client_id: str, profile: ReplaceClient | None = None, **fields: Any) -> Steps[ClientOut]:
    """Register a client, or replace its profile if it exists."""
    request = Request("PUT", path("/v1/clients/{client_id}", client_id), repeatable=True)
    request = yield from with_body(request, ReplaceClient, profile, fields)
    return (yield from call(ClientOut, request))


def change_client(client_id: str, changes: ChangeClient | None = None, **fields: Any) -> Steps[ClientOut]:
    """Change some fields of a client's profile. `None` clears a field that may be absent."""
    request = Request("PATCH", path("/v1/clients/{client_id}", client_id), repeatable=True)
    request = yield from with_body(request, ChangeClient, changes, fields)
    return (yield from call(ClientOut, request))


def remove_client(client_id: str) -> Steps[None]:
    """Remove a client. If a repeat finds no client, the first attempt has removed it, and its answer was lost."""
    missing = frozenset({404})
    answer = yield Request("DELETE", path("/v1/clients/{client_id}", client_id), repeatable=True, accepts=missing)
    if answer.status in missing and not answer.repeats:
        raise refusal(answer.status, answer.headers, answer.body)


def heartbeat(client_id: str, beat: Heartbeat | None = None, **fields: Any) -> Steps[None]:
    """Report that a client is alive, with the bandwidth and latency that its agent measured, if it did."""
    request = Request("POST", path("/v1/clients/{client_id}/heartbeat", client_id), repeatable=True)
    yield (yield from with_body(request, Heartbeat, beat, fields))


def replace_connectivity(matrix: ReplaceConnectivity | None = None, **fields: Any) -> Steps[ConnectivityVersion]:
    """Replace the matrix of link costs. Pass `client_ids` and `costs`, or `edges`."""
    request = Request("PUT", "/v1/connectivity", repeatable=True)
    request = yield from with_body(request, ReplaceConnectivity, matrix, fields)
    return (yield from call(ConnectivityVersion, request))


def change_connectivity(changes: ChangeConnectivity | None = None, **fields: Any) -> Steps[ConnectivityVersion]:
    """Set or remove some links. An entry of `edges` with a `cost` of `None` removes the link."""
    request = Request("PATCH", "/v1/connectivity", repeatable=True)
    request = yield from with_body(request, ChangeConnectivity, changes, fields)
    return (yield from call(ConnectivityVersion, request))


def get_connectivity(*, known_version: int | None = None) -> Steps[ConnectivityOut | None]:
    """Read the matrix of link costs. Returns `None` if it is still the version that the caller knows."""
    headers = {} if known_version is None else {"If-None-Match": f'"{known_version}"'}
    unchanged = frozenset({NOT_MODIFIED})
    answer: Answer = yield Request("GET", "/v1/connectivity", headers=headers, repeatable=True, accepts=unchanged)
    return None if answer.status in unchanged else (yield from read(ConnectivityOut, answer))


def get_topology() -> Steps[TopologyOut]:
    """Describe the registered clients and their links in numbers."""
    return (yield from call(TopologyOut, _get("/v1/topology")))


def list_strategies() -> Steps[StrategiesOut]:
    """List the selection strategies with their parameters."""
    return (yield from call(StrategiesOut, _get("/v1/strategies")))


def plan_selection(rules: PlanSelection | None = None, **fields: Any) -> Steps[SelectionOut]:
    """Plan one round and explain for each client why it is selected or not. Nothing is stored."""
    request = Request("POST", "/v1/selections", repeatable=True)
    return (yield from call(SelectionOut, (yield from with_body(request, PlanSelection, rules, fields))))


def create_training(
    training: CreateTraining | None = None, *, idempotency_key: str | None = None, **fields: Any
) -> Steps[TrainingOut]:
    """Create a training. It does not run until it is started. Calls with the same key return the same training."""
    request = Request("POST", "/v1/trainings", headers=unique(idempotency_key), repeatable=True)
    request = yield from with_body(request, CreateTraining, training, fields)
    return (yield from call(TrainingOut, request))


def list_trainings(*, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[TrainingOut]]:
    """Read one page of the trainings, newest first."""
    return (yield from call(Page[TrainingOut], _get("/v1/trainings", part_of(limit, cursor))))


def get_training(training_id: str) -> Steps[TrainingOut]:
    """Read a training."""
    return (yield from call(TrainingOut, _get(path("/v1/trainings/{training_id}", training_id))))


def change_training(training_id: str, changes: ChangeTraining | None = None, **fields: Any) -> Steps[TrainingOut]:
    """Change some fields of a created, paused or failed training. Fields that are left out stay as they are."""
    request = Request("PATCH", path("/v1/trainings/{training_id}", training_id), repeatable=True)
    request = yield from with_body(request, ChangeTraining, changes, fields)
    return (yield from call(TrainingOut, request))


def start_training(training_id: str) -> Steps[TrainingOut]:
    """Start a created, paused or failed training. It runs until it reaches its target or its last round."""
    return (yield from call(TrainingOut, Request("POST", path("/v1/trainings/{training_id}/start", training_id))))


def pause_training(training_id: str) -> Steps[TrainingOut]:
    """Stop a running training where it is. A round that is open continues when the training is resumed."""
    return (yield from call(TrainingOut, Request("POST", path("/v1/trainings/{training_id}/pause", training_id))))


def resume_training(training_id: str) -> Steps[TrainingOut]:
    """Resume a paused, created or failed training."""
    return (yield from call(TrainingOut, Request("POST", path("/v1/trainings/{training_id}/resume", training_id))))


def cancel_training(training_id: str) -> Steps[TrainingOut]:
    """End a training for good. Its model and its history are kept."""
    return (yield from call(TrainingOut, Request("POST", path("/v1/trainings/{training_id}/cancel", training_id))))


def list_rounds(training_id: str, *, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[RoundOut]]:
    """Read one page of a training's rounds, newest first."""
    request = _get(path("/v1/trainings/{training_id}/rounds", training_id), part_of(limit, cursor))
    return (yield from call(Page[RoundOut], request))


def get_round(training_id: str, number: int) -> Steps[RoundOut]:
    """Read one round with its participations."""
    return (yield from call(RoundOut, _get(path("/v1/trainings/{training_id}/rounds/{number}", training_id, number))))


def get_round_selection(training_id: str, number: int) -> Steps[RoundSelectionOut]:
    """Explain for each client why it was selected for a round or not."""
    request = _get(path("/v1/trainings/{training_id}/rounds/{number}/selection", training_id, number))
    return (yield from call(RoundSelectionOut, request))


def list_models(training_id: str, *, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[ListedModelOut]]:
    """Read one page of a training's model versions, newest first, including those that were removed."""
    request = _get(path("/v1/trainings/{training_id}/models", training_id), part_of(limit, cursor))
    return (yield from call(Page[ListedModelOut], request))


def pin_model(training_id: str, number: int) -> Steps[None]:
    """Keep the model version of a round, even if the training's `retention` would remove it."""
    yield Request("PUT", path("/v1/trainings/{training_id}/models/{number}/pin", training_id, number), repeatable=True)


def unpin_model(training_id: str, number: int) -> Steps[None]:
    """Let the training's `retention` decide about a model version again."""
    yield Request(
        "DELETE", path("/v1/trainings/{training_id}/models/{number}/pin", training_id, number), repeatable=True
    )


def list_audit_records(
    *,
    actor: str | None = None,
    operation: str | None = None,
    result: Literal["done", "refused", "failed"] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = LIMIT,
    cursor: str | None = None,
) -> Steps[Page[AuditRecordOut]]:
    """Read one page of the audit records, in the order of their numbers. Times need a time zone."""
    filters = {
        "actor": actor,
        "operation": operation,
        "result": result,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
    params = [(name, value) for name, value in filters.items() if value is not None]
    return (yield from call(Page[AuditRecordOut], _get("/v1/audit", [*params, *part_of(limit, cursor)])))


def get_audit_head() -> Steps[AuditHeadOut]:
    """Read the number and the hash of the newest audit record."""
    return (yield from call(AuditHeadOut, _get("/v1/audit/head")))


def healthz() -> Steps[Health]:
    """Tell that the server's process is up."""
    return (yield from call(Health, _get("/healthz")))


def readyz() -> Steps[Ready]:
    """Tell whether the server is ready. If it is not, `status` and `checks` say so, and no error is raised."""
    return (yield from call(Ready, Request("GET", "/readyz", repeatable=True, accepts=frozenset({UNREADY}))))


def metrics() -> Steps[str]:
    """Read the metrics in Prometheus's text format."""
    answer: Answer = yield _get("/metrics")
    return answer.body.decode(errors="replace")


def unique(key: str | None) -> dict[str, str]:
    """Make the header that allows a POST to be repeated, with the caller's key or a new one."""
    return {"Idempotency-Key": key or secrets.token_hex(16)}


def _get(where: str, params: Sequence[tuple[str, str]] = ()) -> Request:
    return Request("GET", where, params=params, repeatable=True)
