"""Planning a selection: the request, and the response with the reasons."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from tcsfeel.contract.fields import PLAIN_PATTERN, ClientId, RequestModel, ResponseModel, wrong_fields
from tcsfeel.selection.types import LARGEST_MULTIPLE
from tcsfeel.transfers import BYTES_PER_MB, Topology

Weight = Annotated[float, Field(ge=0, le=1000)]
Budget = Annotated[
    float, Field(gt=0, le=1e12, description="Seconds of link time that a round may cost; no limit if absent")
]
Seed = Annotated[int, Field(ge=0, lt=2**53, description="The same seed makes the same selections again")]
_MOST_CLIENTS = 100_000
_MOST_PARAMETERS = 100


StrategyName = Annotated[
    str, Field(pattern=PLAIN_PATTERN, min_length=1, max_length=256, examples=["tcs-feel", "random", "documented"])
]


class WeightsIn(RequestModel):
    """The weights of the terms of the objective."""

    data_quality: Annotated[Weight, Field(description="How much the labels and the amount of the data count")] = 1.0
    communication: Annotated[Weight, Field(description="How much link time counts")] = 1.0
    compute: Annotated[Weight, Field(description="How much the time of the slowest client counts")] = 1.0
    fairness: Annotated[Weight, Field(description="How much it counts that a client was left out before")] = 0.5


class SelectionRules(RequestModel):
    """How the clients of a round are chosen."""

    strategy: Annotated[
        StrategyName, Field(description="How they are chosen; `GET /v1/strategies` lists the names")
    ] = "tcs-feel"
    min_clients: Annotated[int, Field(ge=1, le=_MOST_CLIENTS, description="Fewest clients of a round")] = 10
    max_clients: Annotated[int, Field(ge=1, le=_MOST_CLIENTS, description="Most clients of a round")] = 30
    budget_constraint: Budget | None = None
    largest_multiple: Annotated[
        float | None,
        Field(ge=1, le=1000, description="Most times its fair share of the places that a client gets; null: no limit"),
    ] = LARGEST_MULTIPLE
    weights: WeightsIn = WeightsIn()
    parameters: Annotated[
        dict[str, float],
        Field(
            max_length=_MOST_PARAMETERS,
            description="Parameters of the strategy by name; `GET /v1/strategies` lists them",
        ),
    ] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "SelectionRules":
        if self.max_clients < self.min_clients:
            rule = f"should be at least min_clients, which is {self.min_clients}; it is {self.max_clients}"
            raise wrong_fields([(("max_clients",), rule)])
        return self


PLANS: list[Any] = [{"strategy": "tcs-feel", "min_clients": 1, "max_clients": 2, "seed": 7}]


class PlanSelection(SelectionRules):
    """A request to plan one round. Nothing is stored."""

    max_bytes = 2_000_000
    max_items = _MOST_CLIENTS + 2_000

    model_config = {"json_schema_extra": {"examples": PLANS}}

    round_number: Annotated[int, Field(ge=1, lt=2**31)] = 1
    seed: Seed = 0
    exclude: Annotated[list[ClientId], Field(max_length=_MOST_CLIENTS, fail_fast=True)] = []
    model_bytes: Annotated[int, Field(ge=1, le=10**13)] = BYTES_PER_MB
    topology: Annotated[Topology, Field(description="`relay`: updates may travel over links between clients")] = "star"
    compare: Annotated[
        list[StrategyName],
        Field(max_length=16, description="Other strategies to plan the same round with, for a comparison"),
    ] = []


class ChosenOut(ResponseModel):
    """A selected client, with the terms of its score and the link time that it adds to the cost, in seconds."""

    client_id: str
    score: float
    components: dict[str, float]
    marginal_cost: float


class SkippedOut(ResponseModel):
    """A client that was not selected, and the reason."""

    client_id: str
    reason: str


class PlanOut(ResponseModel):
    """The links of a round. Each selected client has a parent; `null` is the server."""

    topology: Topology
    parents: dict[str, str | None]


class ExplainedSelection(ResponseModel):
    """The clients that take part in a round, their links, and the reasons why the other clients do not."""

    strategy: str
    selected: list[ChosenOut]
    skipped: list[SkippedOut]
    total_cost: Annotated[
        float, Field(description="Link time in seconds for sending one model down and one up over each link")
    ]
    label_divergence: Annotated[
        float | None, Field(description="KL divergence of the selected clients' pooled labels in nats")
    ]
    fairness: Annotated[float, Field(description="Jain's index of how often each client has been selected")]
    expected_seconds: Annotated[
        float, Field(description="Seconds until the slowest selected client has sent its update")
    ]
    plan: PlanOut


class RoundSelectionOut(ExplainedSelection):
    """The selection of a round, as it was planned."""


class ComparedOut(ResponseModel):
    """The selection of another strategy from the same clients; `in_common` counts the clients that both choose."""

    strategy: str
    client_ids: list[str]
    in_common: int
    total_cost: float
    label_divergence: float | None
    fairness: float
    expected_seconds: float
    duration_ms: float


class SelectionOut(ExplainedSelection):
    """A planned round."""

    connectivity_version: int
    seed: int
    duration_ms: float
    comparison: list[ComparedOut]
