"""Planning a selection: the request, and the answer with its reasons."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from app.domain.selection import strategies
from app.domain.selection.types import BYTES_PER_MB, Plan, Selection, SelectionPolicy, Weights
from app.schemas.fields import ClientId, RequestModel, ResponseModel, wrong_fields

Weight = Annotated[float, Field(ge=0, le=1000)]
Budget = Annotated[float, Field(gt=0, le=1e12, description="Seconds of link time that a round may cost")]
Seed = Annotated[int, Field(ge=0, lt=2**53)]
_MOST_CLIENTS = 100_000


def _known(name: str) -> str:
    if name not in strategies():
        raise ValueError(f"should be one of {', '.join(sorted(strategies()))}")
    return name


StrategyName = Annotated[str, AfterValidator(_known), Field(examples=["tcs-feel", "random", "documented"])]


class WeightsIn(RequestModel):
    """How much each term of the objective counts."""

    data_quality: Weight = 1.0
    communication: Weight = 1.0
    compute: Weight = 1.0
    fairness: Weight = 0.5

    def weights(self) -> Weights:
        return Weights(self.data_quality, self.communication, self.compute, self.fairness)


class SelectionRules(RequestModel):
    """How clients are chosen."""

    strategy: StrategyName = "tcs-feel"
    min_clients: Annotated[int, Field(ge=1, le=_MOST_CLIENTS)] = 10
    max_clients: Annotated[int, Field(ge=1, le=_MOST_CLIENTS)] = 30
    budget_constraint: Budget | None = None
    weights: WeightsIn = WeightsIn()

    @model_validator(mode="after")
    def _ordered(self) -> "SelectionRules":
        if self.max_clients < self.min_clients:
            rule = f"should be at least min_clients, which is {self.min_clients}; it is {self.max_clients}"
            raise wrong_fields([(("max_clients",), rule)])
        return self


class PlanSelection(SelectionRules):
    """One round to be planned. Nothing is stored."""

    model_config = {
        "json_schema_extra": {"examples": [{"strategy": "tcs-feel", "min_clients": 1, "max_clients": 2, "seed": 7}]}
    }

    round_number: Annotated[int, Field(ge=1, lt=2**31)] = 1
    seed: Seed = 0
    exclude: Annotated[list[ClientId], Field(max_length=_MOST_CLIENTS)] = []
    model_bytes: Annotated[int, Field(ge=1, le=10**13)] = BYTES_PER_MB

    def policy(self) -> SelectionPolicy:
        return SelectionPolicy(
            min_clients=self.min_clients,
            max_clients=self.max_clients,
            budget_constraint=self.budget_constraint,
            weights=self.weights.weights(),
            model_bytes=self.model_bytes,
        )


class ChosenOut(ResponseModel):
    """A selected client, with the terms of its score and what it adds to the cost (s of link time)."""

    client_id: str
    score: float
    components: dict[str, float]
    marginal_cost: float


class SkippedOut(ResponseModel):
    """A client that was not selected, and why."""

    client_id: str
    reason: str


class PlanOut(ResponseModel):
    """The links of a round: each selected client's parent, `null` for the server."""

    topology: Literal["star", "relay"]
    parents: dict[str, str | None]

    @classmethod
    def of(cls, plan: Plan) -> "PlanOut":
        return cls(topology=plan.topology, parents=dict(plan.parents))


class SelectionOut(ResponseModel):
    """A planned round."""

    strategy: str
    selected: list[ChosenOut]
    skipped: list[SkippedOut]
    total_cost: Annotated[float, Field(description="Seconds of link time, one model down and one up for each client")]
    label_divergence: Annotated[float | None, Field(description="KL divergence of the pooled labels, nats")]
    fairness: float
    plan: PlanOut
    connectivity_version: int
    seed: int
    duration_ms: float

    @classmethod
    def of(cls, selection: Selection, *, connectivity_version: int, seed: int, duration_ms: float) -> "SelectionOut":
        return cls(
            strategy=selection.strategy,
            selected=[
                ChosenOut(
                    client_id=chosen.client_id,
                    score=chosen.score,
                    components=dict(chosen.components),
                    marginal_cost=chosen.marginal_cost,
                )
                for chosen in selection.selected
            ],
            skipped=[SkippedOut(client_id=skip.client_id, reason=skip.reason) for skip in selection.skipped],
            total_cost=selection.total_cost,
            label_divergence=selection.label_divergence,
            fairness=selection.fairness,
            plan=PlanOut.of(selection.plan),
            connectivity_version=connectivity_version,
            seed=seed,
            duration_ms=duration_ms,
        )
