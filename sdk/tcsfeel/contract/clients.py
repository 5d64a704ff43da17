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
BATCH_LABELS = 1_000_000  # of all clients together
CLIENT_BYTES = 1_000_000  # 10 000 labels of 90 characters
CLIENT_ITEMS = 20_000
_MOST = 1e9

DataSize = Annotated[int, Field(ge=1, le=10**12, description="Samples that the client holds")]
ComputeCapacity = Annotated[float, Field(gt=0, ge=LEAST, le=_MOST, description="GFLOPS")]
Bandwidth = Annotated[float, Field(gt=0, ge=LEAST, le=_MOST, description="Mbps to the server")]
Latency = Annotated[float, Field(ge=0, le=_MOST, description="ms to the server")]
Reliability = Annotated[float, Field(ge=0, le=1, description="Share of its tasks that come back")]
ServerCost = Annotated[float, Field(ge=0, le=_MOST, description="s/MB; 8 / bandwidth by default")]
MOST_TAGS = 64  # of a client, so that no query has use for more
Tags = Annotated[dict[Annotated[PlainText, Field(min_length=1)], PlainText], Field(max_length=MOST_TAGS)]


def _header_safe(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("should be visible ASCII characters, since it is sent in a header")
    return value


AuthToken = Annotated[
    SecretStr,
    Field(min_length=1, max_length=4096, description="Bearer token that the agent expects; never shown again"),
    AfterValidator(_header_safe),
]

AgentInstance = Annotated[
    str, Field(pattern=ID_PATTERN, description="Identifies the agent's process: random, and new at each start")
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


class ClientProfile(RequestModel):
    """What a client says of itself."""

    max_bytes = CLIENT_BYTES
    max_items = CLIENT_ITEMS

    url: Annotated[AgentUrl, Field(description="Base URL of the agent")]
    data_size: DataSize
    data_distribution: DataDistribution | None = None
    compute_capacity: ComputeCapacity
    bandwidth: Bandwidth
    latency: Latency
    reliability: Reliability = 0.9
    server_cost: ServerCost | None = None
    tags: Tags = {}
    auth_token: AuthToken | None = None


class Registration(ClientProfile):
    """A profile as an agent registers it."""

    instance: AgentInstance | None = None


class ReplaceClient(Registration):
    """A profile for the id in the path, which it may repeat."""

    model_config = {"json_schema_extra": {"examples": [EXAMPLE]}}

    id: ClientId | None = None


class RegisterClient(Registration):
    """A profile with its id; without one an id is generated."""

    model_config = {"json_schema_extra": {"examples": [EXAMPLE]}}

    id: Annotated[ClientId, Field(default_factory=lambda: f"client-{secrets.token_hex(6)}")]


class RegisterClients(RequestModel):
    """Many clients at once, all or none."""

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
            ("clients", index, "id"): f"is the id of /clients/{first[client.id]} too"
            for index, client in enumerate(self.clients)
            if first.setdefault(client.id, index) != index
        }
        if again:
            raise wrong_fields(again.items())
        return self


class ChangeClient(RequestModel):
    """Fields to change; what is left out stays. `null` clears those that may be absent."""

    max_bytes = CLIENT_BYTES
    max_items = CLIENT_ITEMS

    model_config = {"json_schema_extra": {"examples": [{"bandwidth": 12.5, "tags": {"site": "south"}}]}}

    url: AgentUrl | None = None
    data_size: DataSize | None = None
    data_distribution: DataDistribution | None = None
    compute_capacity: ComputeCapacity | None = None
    bandwidth: Bandwidth | None = None
    latency: Latency | None = None
    reliability: Reliability | None = None
    server_cost: ServerCost | None = None
    tags: Tags | None = None
    auth_token: AuthToken | None = None

    @model_validator(mode="after")
    def _null_only_where_it_may_be(self) -> "ChangeClient":
        sent = self.model_fields_set - {"data_distribution", "server_cost", "auth_token"}
        nulls = sorted(name for name in sent if getattr(self, name) is None)
        if nulls:
            raise wrong_fields(((name,), "cannot be null: leave it out to keep it") for name in nulls)
        return self


class Heartbeat(RequestModel):
    """A sign of life, with what the agent measured of its link to the server."""

    model_config = {"json_schema_extra": {"examples": HEARTBEATS}}

    bandwidth: Bandwidth | None = None
    latency: Latency | None = None
    instance: AgentInstance | None = None


class MeasuredOut(ResponseModel):
    """Moving averages of what was observed; null before the first observation."""

    reliability: float | None
    train_seconds: float | None
    bandwidth: float | None
    latency: float | None
    last_update_quality: float | None
    no_held_out_data_at: Annotated[
        Instant | None, Field(description="When the client last answered that it has no examples to evaluate with")
    ]


class FailureOut(ResponseModel):
    """One call that failed, in which phase of which round, and why."""

    at: Instant
    phase: Literal["fit", "evaluate", "initial model"]
    training_id: str | None
    round: int | None
    reason: str


class BreakerOut(ResponseModel):
    """A circuit breaker."""

    state: Literal["closed", "open", "half_open"]
    consecutive_failures: int
    openings: Annotated[int, Field(description="How often in a row it opened without a success in between")]
    opened_at: Instant | None
    retry_at: Annotated[Instant | None, Field(description="When a probe is admitted; null when isolated by hand")]
    probe_until: Annotated[Instant | None, Field(description="Until when the one probe may take")]
    last_failure_at: Instant | None
    last_failures: Annotated[list[FailureOut], Field(description="The last five, oldest first")]


class ConflictOut(ResponseModel):
    """Agents that give signs of life under one id in turn, the latest first."""

    since: Instant
    last_at: Instant
    urls: list[str]
    instances: list[str]


class ClientOut(ResponseModel):
    """A registered client."""

    id: str
    url: str
    data_size: int
    data_distribution: list[float] | dict[str, float] | None
    compute_capacity: float
    bandwidth: float
    latency: float
    reliability: float
    server_cost: float | None
    tags: dict[str, str]
    status: Literal["healthy", "suspect", "down"]
    breaker: Literal["closed", "open", "half_open"]
    measured: MeasuredOut
    conflict: Annotated[ConflictOut | None, Field(description="Null unless several agents share this id")]
    rounds_selected: int
    rounds_completed: int
    last_seen_at: Instant | None
    created_at: Instant
    updated_at: Instant


class ClientsOut(ResponseModel):
    """The clients of a batch, in its order."""

    items: list[ClientOut]
