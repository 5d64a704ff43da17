"""Clients in requests and responses."""

import secrets
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from tcsfeel.contract.distributions import LEAST, DataDistribution
from tcsfeel.contract.fields import (
    ID_PATTERN,
    AgentUrl,
    ClientId,
    Instant,
    PlainText,
    RequestModel,
    ResponseModel,
    wrong_fields,
)

BATCH_LIMIT = 10_000
BATCH_BYTES = 16_000_000  # 1.6 kB for each client
BATCH_LABELS = 1_000_000  # of all clients of a batch together
CLIENT_BYTES = 1_000_000  # 10 000 labels of 90 characters
CLIENT_ITEMS = 20_000
_MOST = 1e9

DataSize = Annotated[int, Field(ge=1, le=10**12, description="Number of samples that the client has")]
ComputeCapacity = Annotated[float, Field(gt=0, ge=LEAST, le=_MOST, description="Computing speed in GFLOPS")]
Bandwidth = Annotated[float, Field(gt=0, ge=LEAST, le=_MOST, description="Bandwidth of the link to the server in Mbps")]
Latency = Annotated[float, Field(ge=0, le=_MOST, description="Latency of the link to the server in ms")]
Reliability = Annotated[float, Field(ge=0, le=1, description="Share of its tasks that the client finishes")]
ServerCost = Annotated[
    float, Field(ge=0, le=_MOST, description="Cost of the link to the server in s/MB; 8 / bandwidth if absent")
]
MOST_TAGS = 64  # that a client may have; a query may name as many
Tags = Annotated[dict[Annotated[PlainText, Field(min_length=1)], PlainText], Field(max_length=MOST_TAGS)]


def _header_safe(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("should be visible ASCII characters, since it is sent in a header")
    return value


AuthToken = Annotated[
    SecretStr,
    Field(min_length=1, max_length=4096, description="Bearer token that the agent expects; no answer ever contains it"),
    AfterValidator(_header_safe),
]

AgentInstance = Annotated[
    str,
    Field(pattern=ID_PATTERN, description="Identifies the agent's process: a random text that is new at each start"),
]

EXAMPLE: dict[str, Any] = {
    "id": "edge-7",
    "url": "http://10.0.0.7:9000",
    "data_size": 1200,
    "data_distribution": [300, 20, 880],
    "compute_capacity": 5.5,
    "bandwidth": 40.0,
    "latency": 25.0,
    "reliability": 0.95,
    "tags": {"site": "north"},
}

HEARTBEATS: list[Any] = [{"bandwidth": 38.2, "latency": 31.0}]


RELAY = (
    "Whether it takes part in relay trees: it may then see the updates of other clients, and its own may be seen by"
    " another one"
)
ELASTIC = "Whether its trainer follows the `local_epochs` of each task"


class ClientProfile(RequestModel):
    """What a client reports about itself."""

    max_bytes = CLIENT_BYTES
    max_items = CLIENT_ITEMS

    url: Annotated[
        AgentUrl | None, Field(description="Base URL of the agent; without one, the agent pulls: it asks for its tasks")
    ] = None
    data_size: DataSize
    data_distribution: DataDistribution | None = None
    compute_capacity: ComputeCapacity
    bandwidth: Bandwidth
    latency: Latency
    reliability: Reliability = 0.9
    server_cost: ServerCost | None = None
    tags: Tags = {}
    auth_token: AuthToken | None = None
    relay: Annotated[bool, Field(description=RELAY)] = True
    elastic: Annotated[bool, Field(description=ELASTIC)] = False

    @model_validator(mode="after")
    def _token_only_with_url(self) -> "ClientProfile":
        if self.url is None and self.auth_token is not None:
            raise wrong_fields(
                [(("auth_token",), "is sent only to an agent with a url: give the url, or leave it out")]
            )
        return self


class Registration(ClientProfile):
    """The profile that an agent registers."""

    instance: AgentInstance | None = None


class ReplaceClient(Registration):
    """A profile for the client in the path. It may repeat the id."""

    model_config = {"json_schema_extra": {"examples": [EXAMPLE]}}

    id: ClientId | None = None


class RegisterClient(Registration):
    """A profile with the client's id; if there is none, the server generates one."""

    model_config = {"json_schema_extra": {"examples": [EXAMPLE]}}

    id: Annotated[ClientId, Field(default_factory=lambda: f"client-{secrets.token_hex(6)}")]


class RegisterClients(RequestModel):
    """Several clients, which are registered together or not at all."""

    model_config = {
        "json_schema_extra": {
            "examples": [{"clients": [EXAMPLE | {"id": "edge-8", "bandwidth": 8.0}, EXAMPLE | {"id": "edge-9"}]}]
        }
    }

    clients: Annotated[list[RegisterClient], Field(min_length=1, max_length=BATCH_LIMIT)]

    @model_validator(mode="after")
    def _distinct(self) -> "RegisterClients":
        first: dict[str, int] = {}
        again = {
            ("clients", index, "id"): f"is also the id of /clients/{first[client.id]}"
            for index, client in enumerate(self.clients)
            if first.setdefault(client.id, index) != index
        }
        if again:
            raise wrong_fields(again.items())
        return self


class ChangeClient(RequestModel):
    """The fields to change. Fields that are left out stay as they are; `null` clears a field that may be absent."""

    max_bytes = CLIENT_BYTES
    max_items = CLIENT_ITEMS

    model_config = {"json_schema_extra": {"examples": [{"bandwidth": 12.5, "tags": {"site": "south"}}]}}

    url: Annotated[AgentUrl | None, Field(description="`null` for an agent that pulls its tasks from now on")] = None
    data_size: DataSize | None = None
    data_distribution: DataDistribution | None = None
    compute_capacity: ComputeCapacity | None = None
    bandwidth: Bandwidth | None = None
    latency: Latency | None = None
    reliability: Reliability | None = None
    server_cost: ServerCost | None = None
    tags: Tags | None = None
    auth_token: AuthToken | None = None
    relay: Annotated[bool | None, Field(description=RELAY)] = None
    elastic: Annotated[bool | None, Field(description=ELASTIC)] = None

    @model_validator(mode="after")
    def _null_only_where_it_may_be(self) -> "ChangeClient":
        sent = self.model_fields_set - {"url", "data_distribution", "server_cost", "auth_token"}
        nulls = sorted(name for name in sent if getattr(self, name) is None)
        if nulls:
            raise wrong_fields(((name,), "cannot be null: leave it out to keep its value") for name in nulls)
        return self


class Heartbeat(RequestModel):
    """A sign of life. It may report the bandwidth and latency that the agent measured on its link to the server."""

    model_config = {"json_schema_extra": {"examples": HEARTBEATS}}

    bandwidth: Bandwidth | None = None
    latency: Latency | None = None
    instance: AgentInstance | None = None


class MeasuredOut(ResponseModel):
    """Moving averages of what the server observed; null before the first observation."""

    reliability: float | None
    train_seconds: float | None
    bandwidth: float | None
    latency: float | None
    last_update_quality: float | None
    relaying: float | None = None
    no_held_out_data_at: Annotated[Instant | None, Field(description="When it last said that it has no held-out data")]


class FailureOut(ResponseModel):
    """A call that failed: when, in which phase of which round, and why."""

    at: Instant
    phase: Literal["fit", "evaluate", "initial model"]
    training_id: str | None
    round: int | None
    reason: str
    kind: Annotated[
        Literal["unreachable", "faulty"],
        Field(description="Whether the agent could not be reached, or its trainer failed or its answer was wrong"),
    ] = "faulty"


class FailuresOut(ResponseModel):
    """How often calls of a client have failed since it was registered, and the last failure of each kind."""

    unreachable: Annotated[int, Field(description="How often its agent could not be reached or did not answer")] = 0
    faulty: Annotated[int, Field(description="How often its trainer failed, or its answer was wrong")] = 0
    last_unreachable: FailureOut | None = None
    last_faulty: FailureOut | None = None
    wrong_evaluations: Annotated[
        int, Field(description="How many evaluations in a row failed or were wrong; with 3 or more it is asked rarely")
    ] = 0


class BreakerOut(ResponseModel):
    """The circuit breaker of a client."""

    state: Literal["closed", "open", "half_open"]
    consecutive_failures: int
    openings: Annotated[int, Field(description="How often it has opened in a row, without a success in between")]
    opened_at: Instant | None
    retry_at: Annotated[
        Instant | None, Field(description="When the next probe is let through; null if the breaker was opened by hand")
    ]
    probe_until: Annotated[Instant | None, Field(description="When the probe that is under way times out")]
    last_failure_at: Instant | None
    last_failures: Annotated[list[FailureOut], Field(description="The last five failures, oldest first")]
    cause: Annotated[str | None, Field(description="What opened it the last time; null while it is closed")] = None


class ConflictOut(ResponseModel):
    """Several agents that use the same client id, the latest first."""

    since: Instant
    last_at: Instant
    urls: list[str]
    instances: list[str]


class ClientOut(ResponseModel):
    """A registered client."""

    id: str
    url: Annotated[str | None, Field(description="Base URL of the agent; null if it pulls its tasks")]
    data_size: int
    data_distribution: list[float] | dict[str, float] | None
    compute_capacity: float
    bandwidth: float
    latency: float
    reliability: float
    server_cost: float | None
    tags: dict[str, str]
    relay: Annotated[bool, Field(description="Whether it takes part in relay trees")] = True
    elastic: Annotated[bool, Field(description=ELASTIC)] = False
    status: Literal["healthy", "suspect", "down"]
    breaker: Literal["closed", "open", "half_open"]
    measured: MeasuredOut
    failures: Annotated[FailuresOut, Field(description="What has gone wrong with it since it was registered")] = (
        FailuresOut()
    )
    conflict: Annotated[ConflictOut | None, Field(description="Null unless several agents share this id")]
    unproven: Annotated[
        str | None,
        Field(description="Why its address gets no tasks yet; null if it proved to be its device's, or without a key"),
    ] = None
    rounds_selected: int
    rounds_completed: int
    last_seen_at: Instant | None
    created_at: Instant
    updated_at: Instant
    public_key: Annotated[str | None, Field(description="The public key of its device; null if no device enrolled")] = (
        None
    )
    enrolled_at: Annotated[Instant | None, Field(description="When its device enrolled")] = None
    invitation_id: Annotated[str | None, Field(description="The invitation that its device used")] = None


class ClientsOut(ResponseModel):
    """The clients of a batch, in the order of the request."""

    items: list[ClientOut]
