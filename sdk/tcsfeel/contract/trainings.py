"""Trainings in requests and responses."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tcsfeel.aggregation import shortage, usual_byzantine
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.contract.clients import Tags
from tcsfeel.contract.fields import Instant, PlainText, RequestModel, ResponseModel, wrong_fields
from tcsfeel.contract.hyperparameters import Hyperparameters
from tcsfeel.contract.progress import ProgressOut
from tcsfeel.contract.round_policies import RoundPolicyIn, RoundPolicyOut
from tcsfeel.contract.selections import Seed, SelectionRules
from tcsfeel.wire.compression import Compression
from tcsfeel.wire.tasks import EncodingName, Scalar


class Evaluation(RequestModel):
    """Who measures the new global model on held-out data."""

    clients: Annotated[int, Field(ge=0, le=100_000, description="Healthy clients that evaluate; 0 for none")] = 50
    tags: Annotated[Tags, Field(description="Only clients with all of these tags are asked")] = {}


class UploadsIn(RequestModel):
    """Smaller updates from agents that can send them. Others, and everybody by default, send them in full."""

    encoding: Annotated[EncodingName, Field(description="float16 and int8 are differences, rounded")] = "full"
    compression: Annotated[Compression, Field(description="Of the body, whatever its encoding")] = "none"


class RetentionIn(RequestModel):
    """Which model versions are kept, besides the initial one, those that are pinned, and what rounds need."""

    keep_last: Annotated[int, Field(ge=1, le=1_000_000, description="How many of the newest")] = 10
    keep_best: Annotated[bool, Field(description="The one with the best measured accuracy")] = True


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
                    "aggregation": "fedavg",
                    "selection": {"strategy": "tcs-feel", "min_clients": 1, "max_clients": 10},
                    "hyperparameters": {"local_epochs": 5, "learning_rate": 0.5, "batch_size": 10},
                    "uploads": {"encoding": "int8", "compression": "zstd"},
                    "retention": {"keep_last": 5, "keep_best": True},
                }
            ]
        }
    }

    name: Annotated[PlainText, Field(min_length=1)]
    target_accuracy: Annotated[float, Field(gt=0, le=1, description="0.963 unless configured")] | None = None
    max_rounds: Annotated[int, Field(ge=1, le=1_000_000, description="100 unless configured")] | None = None
    aggregation: Aggregation = "fedavg"
    selection: SelectionRules = SelectionRules()
    hyperparameters: Hyperparameters = Hyperparameters()
    round_policy: RoundPolicyIn = RoundPolicyIn()
    evaluation: Evaluation = Evaluation()
    uploads: UploadsIn = UploadsIn()
    topology: Annotated[Literal["star"], Field(description="Relay trees are planned for a later version")] = "star"
    seed: Seed = 0
    retention: Annotated[RetentionIn | None, Field(description="Every model version is kept if absent")] = None
    statistics: Annotated[
        list[Annotated[PlainText, Field(min_length=1)]],
        Field(max_length=64, description="Patterns for tensors that are averaged and never optimised, such as `*.ema`"),
    ] = []

    @model_validator(mode="after")
    def _enough_clients_for_the_rule(self) -> "CreateTraining":
        count, given = self.selection.max_clients, self.hyperparameters.server_byzantine_clients
        byzantine = usual_byzantine(count) if given is None else given
        if problem := shortage(self.aggregation, count, byzantine):
            raise wrong_fields([(("selection", "max_clients"), f"should be larger: {problem}")])
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
    weights: WeightsOut
    parameters: dict[str, float]


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


class TrainingOut(ResponseModel):
    """A training: what it was created with, and how far it is."""

    id: str
    name: str
    status: Literal["created", "running", "paused", "completed", "failed", "cancelled"]
    stop_reason: Literal["target_accuracy", "max_rounds", "cancelled", "too_many_failed_rounds"] | None
    stop_detail: Annotated[str | None, Field(description="What it achieved, or why its last round failed")]
    current_round: int
    accuracy: Annotated[float | None, Field(description="Measured on held-out data after the last round")]
    best_accuracy: float | None
    model: Annotated[str | None, Field(description="SHA-256 of the newest model version")]
    target_accuracy: float
    max_rounds: int
    aggregation: Aggregation
    selection: SelectionRulesOut
    hyperparameters: dict[str, Scalar]
    round_policy: RoundPolicyOut
    evaluation: EvaluationOut
    uploads: UploadsOut
    topology: Literal["star", "relay"]
    seed: int
    retention: Annotated[RetentionOut | None, Field(description="Null: every model version is kept")]
    statistics: list[str]
    progress: Annotated[ProgressOut | None, Field(description="Null unless it is running")] = None
    created_at: Instant
    updated_at: Instant
