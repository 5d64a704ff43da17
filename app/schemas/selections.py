"""Planning a selection: the request, and the answer with its reasons."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from app.domain.selection import parameters_of, strategies, unfit
from app.domain.selection.types import BYTES_PER_MB, Selection, SelectionPolicy, Topology, Weights
from app.schemas.fields import ClientId, RequestModel, ResponseModel, wrong_fields

Weight = Annotated[float, Field(ge=0, le=1000)]
Budget = Annotated[float, Field(gt=0, le=1e12, description="Seconds of link time that a round may cost")]
Seed = Annotated[int, Field(ge=0, lt=2**53)]
_MOST_CLIENTS = 100_000
_MOST_PARAMETERS = 100


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
    parameters: Annotated[
        dict[str, float],
        Field(max_length=_MOST_PARAMETERS, description="Of the strategy, by name, as `GET /v1/strategies` lists them"),
    ] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "SelectionRules":
        wrong: list[tuple[tuple[str, ...], str]] = []
        if self.max_clients < self.min_clients:
            rule = f"should be at least min_clients, which is {self.min_clients}; it is {self.max_clients}"
            wrong.append((("max_clients",), rule))
        if self.parameters:  # not where there are none: a default is made on import, when no plugin may be there yet
            declared = parameters_of(strategies()[self.strategy])
            wrong += [(("parameters", name), rule) for name, rule in unfit(declared, self.parameters)]
        if wrong:
            raise wrong_fields(wrong)
        return self


class PlanSelection(SelectionRules):
    """One round to be planned. Nothing is stored."""

    max_bytes = 2_000_000
    max_items = _MOST_CLIENTS + 2_000

    model_config = {
        "json_schema_extra": {"examples": [{"strategy": "tcs-feel", "min_clients": 1, "max_clients": 2, "seed": 7}]}
    }

    round_number: Annotated[int, Field(ge=1, lt=2**31)] = 1
    seed: Seed = 0
    exclude: Annotated[list[ClientId], Field(max_length=_MOST_CLIENTS, fail_fast=True)] = []
    model_bytes: Annotated[int, Field(ge=1, le=10**13)] = BYTES_PER_MB
    topology: Annotated[Topology, Field(description="`relay`: updates may travel over links between clients")] = "star"
    compare: Annotated[
        list[StrategyName], Field(max_length=16, description="Strategies to plan the same round with")
    ] = []

    def policy(self) -> SelectionPolicy:
        return SelectionPolicy(
            min_clients=self.min_clients,
            max_clients=self.max_clients,
            budget_constraint=self.budget_constraint,
            weights=self.weights.weights(),
            model_bytes=self.model_bytes,
            topology=self.topology,
            parameters=self.parameters,
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

    topology: Topology
    parents: dict[str, str | None]


class ExplainedSelection(ResponseModel):
    """Who takes part in a round, over which links, and why everybody else does not."""

    strategy: str
    selected: list[ChosenOut]
    skipped: list[SkippedOut]
    total_cost: Annotated[float, Field(description="Seconds of link time, one model down and one up over each link")]
    label_divergence: Annotated[float | None, Field(description="KL divergence of the pooled labels, nats")]
    fairness: Annotated[float, Field(description="Jain's index of how often each client has been selected")]
    expected_seconds: Annotated[float, Field(description="Until the slowest selected client has sent its update")]
    plan: PlanOut


def _explained(selection: Selection) -> dict[str, Any]:
    """The fields of an `ExplainedSelection`, its clients one by one: all at once would hold the interpreter."""
    lists = {
        "selected": [ChosenOut.model_validate(chosen) for chosen in selection.selected],
        "skipped": [SkippedOut.model_validate(skipped) for skipped in selection.skipped],
        "plan": PlanOut.model_validate(selection.plan),
    }
    return {
        name: lists[name] if name in lists else getattr(selection, name) for name in ExplainedSelection.model_fields
    }


class RoundSelectionOut(ExplainedSelection):
    """A round as it was planned."""

    @classmethod
    def of(cls, selection: Selection) -> "RoundSelectionOut":
        return cls(**_explained(selection))


class ComparedOut(ResponseModel):
    """What another strategy would choose from the same clients; `in_common` counts those that both choose."""

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

    @classmethod
    def of(cls, planned: Sequence[tuple[Selection, float]], *, connectivity_version: int, seed: int) -> "SelectionOut":
        """From selections and how long each took (ms): the one that was asked for, and those to compare it with."""
        (selection, duration_ms), *others = planned
        chosen = {*selection.client_ids}
        return cls(
            **_explained(selection),
            connectivity_version=connectivity_version,
            seed=seed,
            duration_ms=duration_ms,
            comparison=[
                ComparedOut(
                    client_ids=list(other.client_ids),
                    in_common=len(chosen & {*other.client_ids}),
                    duration_ms=took,
                    **{name: getattr(other, name) for name in _FIGURES},
                )
                for other, took in others
            ],
        )


_FIGURES = ("strategy", "total_cost", "label_divergence", "fairness", "expected_seconds")
