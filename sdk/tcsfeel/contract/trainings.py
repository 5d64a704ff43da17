"""Trainings in requests and responses."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tcsfeel.aggregation import shortage, usual_byzantine
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.contract.clients import Tags
from tcsfeel.contract.fields import ClientId, Instant, PlainText, RequestModel, ResponseModel, wrong_fields
from tcsfeel.contract.goals import GoalIn, GoalOut
from tcsfeel.contract.hyperparameters import Hyperparameters
from tcsfeel.contract.parameter_groups import ParameterGroupsIn, ParameterGroupsOut, Patterns
from tcsfeel.contract.progress import ProgressOut
from tcsfeel.contract.recipes import GivenRecipe, with_recipe
from tcsfeel.contract.relays import check_relays
from tcsfeel.contract.round_policies import RoundPolicyIn, RoundPolicyOut, check_stragglers
from tcsfeel.contract.schedules import MOST_ROUNDS, ScheduleIn
from tcsfeel.contract.selections import Seed, SelectionRules
from tcsfeel.transfers import Topology
from tcsfeel.wire.compression import Compression
from tcsfeel.wire.tasks import EncodingName, Scalar

NOT_SHORTENED: Mapping[Aggregation, str] = {
    "fednova": "an update that was shortened would grow again when it is divided by its number of steps",
    "scaffold": "an agent does not know that its update was shortened",
}
SMALLEST_RATE = 1e-9  # of the local steps with scaffold


class Evaluation(RequestModel):
    """Which clients measure the new global model on their held-out data."""

    clients: Annotated[int, Field(ge=0, le=100_000, description="How many healthy clients evaluate; 0 for none")] = 50
    tags: Annotated[Tags, Field(description="Only clients with all of these tags evaluate")] = {}


Ids = Annotated[list[ClientId], Field(max_length=10_000)]


class WhereIn(RequestModel):
    """Which clients may train. Every condition has to be met."""

    tags: Annotated[Tags, Field(description="Only clients with all of these tags")] = {}
    clients: Annotated[Ids, Field(description="Only these clients; empty for all")] = []
    exclude: Annotated[Ids, Field(description="Not these clients")] = []
    min_data_size: Annotated[int, Field(ge=0, le=10**15, description="Least number of training samples")] = 0
    min_reliability: Annotated[
        float, Field(ge=0, le=1, description="Least reliability: the measured one, or the claimed one until then")
    ] = 0.0


class UploadsIn(RequestModel):
    """How agents may send smaller updates. Agents that cannot do so, and by default all agents, send them in full."""

    encoding: Annotated[
        EncodingName, Field(description="`float16` and `int8` send rounded differences from the round's model")
    ] = "full"
    compression: Annotated[Compression, Field(description="Compression of the body; it works with every encoding")] = (
        "none"
    )


class RetentionIn(RequestModel):
    """Which model versions are kept, besides the initial one, pinned ones, and those that rounds still need."""

    keep_last: Annotated[int, Field(ge=1, le=1_000_000, description="How many of the newest versions are kept")] = 10
    keep_best: Annotated[bool, Field(description="Whether the best version by the training's goal is kept")] = True


class CreateTraining(RequestModel):
    """A federated-learning job."""

    max_bytes = 524_288  # 256 hyperparameters of 1 024 characters, and twice as many bytes
    max_items = 20_000

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "name": "digits",
                    "target_accuracy": 0.963,
                    "max_rounds": 60,
                    "recipe": "tcs-feel",
                    "aggregation": "balanced",
                    "selection": {"strategy": "tcs-feel", "min_clients": 1, "max_clients": 10, "largest_multiple": 2},
                    "hyperparameters": {"local_epochs": 5, "learning_rate": 0.5, "batch_size": 10},
                    "uploads": {"encoding": "int8", "compression": "zstd"},
                    "retention": {"keep_last": 5, "keep_best": True},
                    "parameters": {"local": ["bn*"], "frozen": ["embedding.*"]},
                }
            ]
        }
    }

    name: Annotated[PlainText, Field(min_length=1, description="What people call it; it need not be unique")]
    recipe: GivenRecipe = None
    target_accuracy: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="Short for a `goal` on accuracy. If both are absent, the server's setting: 0.963 by default",
        ),
    ] = None
    goal: Annotated[GoalIn | None, Field(description="What the training is to reach")] = None
    max_rounds: (
        Annotated[int, Field(ge=1, le=MOST_ROUNDS, description="If absent, the server's setting: 100 by default")]
        | None
    ) = None
    aggregation: Annotated[Aggregation, Field(description="The rule by which updates become the next model")] = "fedavg"
    selection: SelectionRules = SelectionRules()
    where: WhereIn = WhereIn()
    hyperparameters: Hyperparameters = Hyperparameters()
    round_policy: RoundPolicyIn = RoundPolicyIn()
    evaluation: Evaluation = Evaluation()
    uploads: UploadsIn = UploadsIn()
    topology: Annotated[
        Topology,
        Field(
            description="`relay`: some clients average the updates of others with their own and send one mean. A relay"
            " sees the updates of its children"
        ),
    ] = "star"
    seed: Seed = 0
    retention: Annotated[RetentionIn | None, Field(description="If absent, every model version is kept")] = None
    parameters: Annotated[ParameterGroupsIn, Field(description="Groups of tensors that are treated differently")] = (
        ParameterGroupsIn()
    )
    statistics: Annotated[Patterns, Field(description="Older name of `parameters.averaged`")] = []

    @model_validator(mode="before")
    @classmethod
    def _with_its_recipe(cls, given: Any) -> Any:
        return with_recipe(given)

    @model_validator(mode="after")
    def _one_goal(self) -> "CreateTraining":
        if self.goal is not None and self.target_accuracy is not None:
            raise wrong_fields([(("target_accuracy",), "should be left out, since goal says what is to be reached")])
        return self

    @model_validator(mode="after")
    def _averaged_once(self) -> "CreateTraining":
        if self.statistics and self.parameters.averaged:
            raise wrong_fields([(("statistics",), "should be left out, since parameters.averaged says the same")])
        return self

    @model_validator(mode="after")
    def _enough_clients_for_the_rule(self) -> "CreateTraining":
        count, given = self.selection.max_clients, self.hyperparameters.server_byzantine_clients
        byzantine = usual_byzantine(count) if given is None else given
        if problem := shortage(self.aggregation, count, byzantine):
            raise wrong_fields([(("selection", "max_clients"), f"should be larger: {problem}")])
        return self

    @model_validator(mode="after")
    def _no_shortened_updates_where_they_count_by_step(self) -> "CreateTraining":
        if self.aggregation in NOT_SHORTENED and self.hyperparameters.server_clip_norm is not None:
            rule = f"cannot be used with {self.aggregation}, because {NOT_SHORTENED[self.aggregation]}"
            raise wrong_fields([(("hyperparameters", "server_clip_norm"), rule)])
        return self

    @model_validator(mode="after")
    def _only_what_relays_and_stragglers_can_do(self) -> "CreateTraining":
        if self.topology == "relay":
            check_relays(
                self.aggregation,
                shortens=self.hyperparameters.server_clip_norm is not None,
                smaller=self.uploads != UploadsIn(),
                frozen=bool(self.parameters.frozen),
            )
        check_stragglers(self.round_policy, self.aggregation, self.topology)
        return self

    @model_validator(mode="after")
    def _steps_that_scaffold_can_divide_by(self) -> "CreateTraining":
        rate = self.hyperparameters.learning_rate
        values = rate.made().extremes() if isinstance(rate, ScheduleIn) else {"": rate}
        if self.aggregation == "scaffold":
            for place, value in values.items():
                if value < SMALLEST_RATE:
                    rule = f"should be at least {SMALLEST_RATE:g} with scaffold, which divides by the learning rate"
                    raise wrong_fields([(("hyperparameters", "learning_rate", *filter(None, place.split("/"))), rule)])
        return self


class WeightsOut(ResponseModel):
    """As in the request."""

    data_quality: float
    communication: float
    compute: float
    fairness: float


class SelectionRulesOut(ResponseModel):
    """As in the request."""

    strategy: str
    min_clients: int
    max_clients: int
    budget_constraint: float | None
    largest_multiple: float | None = None
    weights: WeightsOut
    parameters: dict[str, float]


class WhereOut(ResponseModel):
    """As in the request."""

    tags: dict[str, str]
    clients: list[str]
    exclude: list[str]
    min_data_size: int
    min_reliability: float


class EvaluationOut(ResponseModel):
    """As in the request."""

    clients: int
    tags: dict[str, str]


class UploadsOut(ResponseModel):
    """As in the request."""

    encoding: EncodingName
    compression: Compression


class RetentionOut(ResponseModel):
    """As in the request."""

    keep_last: int
    keep_best: bool


class OriginOut(ResponseModel):
    """The model version of another training that a training started from."""

    training: str
    round: int
    model: Annotated[str, Field(description="SHA-256 of the version")]
    optimiser: Annotated[bool, Field(description="Whether the state of the server optimiser was taken over")]


class TrainingOut(ResponseModel):
    """A training: its configuration, its state and its results."""

    id: str
    name: str
    status: Literal["created", "running", "paused", "completed", "failed", "cancelled"]
    stop_reason: (
        Literal["target_accuracy", "target", "no_improvement", "max_rounds", "cancelled", "too_many_failed_rounds"]
        | None
    )
    stop_detail: Annotated[str | None, Field(description="What it reached, or why its last round failed")]
    current_round: int
    accuracy: Annotated[float | None, Field(description="Accuracy on held-out data, measured after the last round")]
    best_accuracy: float | None
    goal_value: Annotated[float | None, Field(description="What the last measured round had of the goal's metric")] = (
        None
    )
    best_value: Annotated[float | None, Field(description="The best value of the goal's metric so far")] = None
    best_round: Annotated[int | None, Field(description="The round that measured the best value")] = None
    model: Annotated[str | None, Field(description="SHA-256 of the newest model version")]
    target_accuracy: Annotated[float | None, Field(description="Null where the goal is another one")]
    goal: GoalOut
    max_rounds: int
    recipe: Annotated[
        str | None, Field(description="The recipe that it was created with; every field of it is in this answer")
    ] = None
    aggregation: Aggregation
    selection: SelectionRulesOut
    where: WhereOut
    hyperparameters: Annotated[
        dict[str, Scalar | dict[str, Any]], Field(description="Values, and schedules as in the request")
    ]
    round_policy: RoundPolicyOut
    evaluation: EvaluationOut
    uploads: UploadsOut
    topology: Topology
    seed: int
    retention: Annotated[RetentionOut | None, Field(description="Null if every model version is kept")]
    parameters: ParameterGroupsOut = ParameterGroupsOut(averaged=[], local=[], frozen=[])
    statistics: Annotated[list[str], Field(description="The same as `parameters.averaged`")]
    unmatched_patterns: Annotated[
        ParameterGroupsOut | None,
        Field(description="The patterns of `parameters` that match no tensor of its first model; null if all match"),
    ] = None
    origin: Annotated[OriginOut | None, Field(description="Null if it did not start from another training")] = None
    progress: Annotated[ProgressOut | None, Field(description="Null if the training is not running")] = None
    created_at: Instant
    updated_at: Instant
