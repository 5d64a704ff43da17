"""The operations of the REST API, one function for each, under the names that its document gives them.

Each is a call to be driven (`tcsfeel.rest.exchange`); `Client` and `AsyncClient` make methods of them. A body is given
as a model of `tcsfeel.contract` or as its fields by keyword.
"""

import secrets
from collections.abc import Sequence
from typing import Any, Literal

from tcsfeel.client.messages import call, path, read, with_body
from tcsfeel.contract.clients import (
    BreakerOut,
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
from tcsfeel.contract.trainings import CreateTraining, TrainingOut
from tcsfeel.rest.exchange import Answer, Request, Steps
from tcsfeel.rest.problems import NotFound

LIMIT = 100  # items of a page, unless told otherwise
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
    tags: Sequence[str] = (),
    limit: int = LIMIT,
    cursor: str | None = None,
) -> Steps[Page[ClientOut]]:
    """Read one page of the clients, in the order of their ids. `tags` are `key:value`, and all of them must hold."""
    params = [*([("status", status)] if status else []), *(("tag", tag) for tag in tags), *_page(limit, cursor)]
    return (yield from call(Page[ClientOut], _get("/v1/clients", params)))


def get_client(client_id: str) -> Steps[ClientOut]:
    """Read a client."""
    return (yield from call(ClientOut, _get(path("/v1/clients/{}", client_id))))


def put_client(client_id: str, profile: ReplaceClient | None = None, **fields: Any) -> Steps[ClientOut]:
    """Register a client, or replace the profile of one that is there."""
    request = Request("PUT", path("/v1/clients/{}", client_id), repeatable=True)
    request = yield from with_body(request, ReplaceClient, profile, fields)
    return (yield from call(ClientOut, request))


def change_client(client_id: str, changes: ChangeClient | None = None, **fields: Any) -> Steps[ClientOut]:
    """Change some fields of a client's profile; `None` clears those that may be absent."""
    request = Request("PATCH", path("/v1/clients/{}", client_id), repeatable=True)
    request = yield from with_body(request, ChangeClient, changes, fields)
    return (yield from call(ClientOut, request))


def remove_client(client_id: str) -> Steps[None]:
    """Remove a client. Where the answer got lost and a repeat finds no client, the first attempt has removed it."""
    missing = frozenset({404})
    answer = yield Request("DELETE", path("/v1/clients/{}", client_id), repeatable=True, accepts=missing)
    if answer.status in missing and not answer.repeats:
        raise NotFound(answer.status, f"there is no client {client_id!r}")


def heartbeat(client_id: str, beat: Heartbeat | None = None, **fields: Any) -> Steps[None]:
    """Say that a client is alive, with what its agent measured of its link."""
    request = Request("POST", path("/v1/clients/{}/heartbeat", client_id), repeatable=True)
    yield (yield from with_body(request, Heartbeat, beat, fields))


def get_breaker(client_id: str) -> Steps[BreakerOut]:
    """Read the circuit breaker in front of a client."""
    return (yield from call(BreakerOut, _get(path("/v1/clients/{}/breaker", client_id))))


def reset_breaker(client_id: str) -> Steps[BreakerOut]:
    """Close a client's breaker by hand."""
    return (yield from call(BreakerOut, Request("POST", path("/v1/clients/{}/breaker/reset", client_id))))


def open_breaker(client_id: str) -> Steps[BreakerOut]:
    """Isolate a client by hand, until its breaker is reset."""
    return (yield from call(BreakerOut, Request("POST", path("/v1/clients/{}/breaker/open", client_id))))


def replace_connectivity(matrix: ReplaceConnectivity | None = None, **fields: Any) -> Steps[ConnectivityVersion]:
    """Replace the matrix of link costs; give `client_ids` and `costs`, or `edges`."""
    request = Request("PUT", "/v1/connectivity", repeatable=True)
    request = yield from with_body(request, ReplaceConnectivity, matrix, fields)
    return (yield from call(ConnectivityVersion, request))


def change_connectivity(changes: ChangeConnectivity | None = None, **fields: Any) -> Steps[ConnectivityVersion]:
    """Set or remove some links: `edges`, with a `cost` of `None` for those to remove."""
    request = Request("PATCH", "/v1/connectivity", repeatable=True)
    request = yield from with_body(request, ChangeConnectivity, changes, fields)
    return (yield from call(ConnectivityVersion, request))


def get_connectivity(*, known_version: int | None = None) -> Steps[ConnectivityOut | None]:
    """Read the matrix of link costs; `None` while it is still the version that is known."""
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
    """Plan one round and say why each client is in it or not. Nothing is stored."""
    request = Request("POST", "/v1/selections", repeatable=True)
    return (yield from call(SelectionOut, (yield from with_body(request, PlanSelection, rules, fields))))


def create_training(
    training: CreateTraining | None = None, *, idempotency_key: str | None = None, **fields: Any
) -> Steps[TrainingOut]:
    """Create a training; it runs once it is started. The same key gives the same training."""
    request = Request("POST", "/v1/trainings", headers=unique(idempotency_key), repeatable=True)
    request = yield from with_body(request, CreateTraining, training, fields)
    return (yield from call(TrainingOut, request))


def list_trainings(*, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[TrainingOut]]:
    """Read one page of the trainings, newest first."""
    return (yield from call(Page[TrainingOut], _get("/v1/trainings", _page(limit, cursor))))


def get_training(training_id: str) -> Steps[TrainingOut]:
    """Read a training."""
    return (yield from call(TrainingOut, _get(path("/v1/trainings/{}", training_id))))


def start_training(training_id: str) -> Steps[TrainingOut]:
    """Start a created, paused or failed training. It runs until its target or its last round."""
    return (yield from call(TrainingOut, Request("POST", path("/v1/trainings/{}/start", training_id))))


def pause_training(training_id: str) -> Steps[TrainingOut]:
    """Stop a running training where it stands; an open round goes on when it is resumed."""
    return (yield from call(TrainingOut, Request("POST", path("/v1/trainings/{}/pause", training_id))))


def resume_training(training_id: str) -> Steps[TrainingOut]:
    """Resume a paused, created or failed training."""
    return (yield from call(TrainingOut, Request("POST", path("/v1/trainings/{}/resume", training_id))))


def cancel_training(training_id: str) -> Steps[TrainingOut]:
    """End a training for good; its model and its history stay."""
    return (yield from call(TrainingOut, Request("POST", path("/v1/trainings/{}/cancel", training_id))))


def list_rounds(training_id: str, *, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[RoundOut]]:
    """Read one page of a training's rounds, newest first."""
    request = _get(path("/v1/trainings/{}/rounds", training_id), _page(limit, cursor))
    return (yield from call(Page[RoundOut], request))


def get_round(training_id: str, number: int) -> Steps[RoundOut]:
    """Read one round with its participations."""
    return (yield from call(RoundOut, _get(path("/v1/trainings/{}/rounds/{}", training_id, number))))


def get_round_selection(training_id: str, number: int) -> Steps[RoundSelectionOut]:
    """Say why each client was in a round or not, as it was planned."""
    request = _get(path("/v1/trainings/{}/rounds/{}/selection", training_id, number))
    return (yield from call(RoundSelectionOut, request))


def list_models(training_id: str, *, limit: int = LIMIT, cursor: str | None = None) -> Steps[Page[ListedModelOut]]:
    """Read one page of a training's model versions, newest first, removed ones included."""
    request = _get(path("/v1/trainings/{}/models", training_id), _page(limit, cursor))
    return (yield from call(Page[ListedModelOut], request))


def pin_model(training_id: str, number: int) -> Steps[None]:
    """Keep the model version of a round, whatever the training's `retention` says."""
    yield Request("PUT", path("/v1/trainings/{}/models/{}/pin", training_id, number), repeatable=True)


def unpin_model(training_id: str, number: int) -> Steps[None]:
    """Let the training's `retention` decide about a model version again."""
    yield Request("DELETE", path("/v1/trainings/{}/models/{}/pin", training_id, number), repeatable=True)


def healthz() -> Steps[Health]:
    """Tell that the server's process is up."""
    return (yield from call(Health, _get("/healthz")))


def readyz() -> Steps[Ready]:
    """Tell whether the server is ready. A server that is not says so in `status` and `checks`; that is no error."""
    return (yield from call(Ready, Request("GET", "/readyz", repeatable=True, accepts=frozenset({UNREADY}))))


def metrics() -> Steps[str]:
    """Read the metrics in Prometheus's text format."""
    answer: Answer = yield _get("/metrics")
    return answer.body.decode(errors="replace")


def unique(key: str | None) -> dict[str, str]:
    """Make the header that lets a POST be repeated, with a key of the caller's or a new one."""
    return {"Idempotency-Key": key or secrets.token_hex(16)}


def _get(where: str, params: Sequence[tuple[str, str]] = ()) -> Request:
    return Request("GET", where, params=params, repeatable=True)


def _page(limit: int, cursor: str | None) -> list[tuple[str, str]]:
    return [("limit", str(limit)), *([("cursor", cursor)] if cursor is not None else [])]
