"""A training: one federated-learning job, its policy, and the states that it goes through."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from app.domain.errors import StateForbids
from app.domain.retention import Retention
from app.domain.selection.types import Weights

TrainingStatus = Literal["created", "running", "paused", "completed", "failed", "cancelled"]
StopReason = Literal["target_accuracy", "max_rounds", "cancelled", "too_many_failed_rounds"]
TrainingEvent = Literal["start", "resume", "run one round of", "pause", "cancel", "complete", "fail", "rest"]
Aggregation = Literal[
    "fedavg", "fedprox", "weighted", "fedavgm", "fedadam", "fedyogi", "fedadagrad",
    "median", "trimmed_mean", "krum", "multi_krum", "geometric_median",
]  # fmt: skip
Scalar = bool | int | float | str | None
UpdateEncoding = Literal["full", "float16", "int8"]
Compression = Literal["none", "zstd"]

# What a user asks reads as "cannot <event> a training that is <status>". `rest` is the end of a single round.
TRANSITIONS: Mapping[tuple[TrainingStatus, TrainingEvent], TrainingStatus] = {
    ("created", "start"): "running",
    ("created", "resume"): "running",
    ("created", "run one round of"): "running",
    ("created", "cancel"): "cancelled",
    ("paused", "start"): "running",
    ("paused", "resume"): "running",
    ("paused", "run one round of"): "running",
    ("paused", "cancel"): "cancelled",
    ("running", "pause"): "paused",
    ("running", "cancel"): "cancelled",
    ("running", "complete"): "completed",
    ("running", "fail"): "failed",
    ("running", "rest"): "paused",
}
FINAL: frozenset[TrainingStatus] = frozenset({"completed", "failed", "cancelled"})


def next_status(status: TrainingStatus, event: TrainingEvent) -> TrainingStatus:
    """The status after `event`; raises `StateForbids` where the table has no such arrow."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise StateForbids(event, "training", status) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionConfig:
    """How each round's clients are chosen; see `SelectionPolicy`."""

    strategy: str = "tcs-feel"
    min_clients: int = 10
    max_clients: int = 30
    budget_constraint: float | None = None
    weights: Weights = field(default_factory=Weights)
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPolicy:
    """When a round ends (after Bonawitz et al., "Towards federated learning at scale", 2019).

    Attributes:
        deadline_seconds: the longest that a round may take, evaluation included.
        quorum: share of the selection without whose updates the round is abandoned, in (0, 1].
        over_selection: how many times the goal count is selected, at least 1.
        grace_seconds: how long stragglers are waited for once the quorum is in.
        max_failed_rounds: abandoned rounds in a row that end the training.
    """

    deadline_seconds: float = 600.0
    quorum: float = 0.6
    over_selection: float = 1.0
    grace_seconds: float = 10.0
    max_failed_rounds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """How agents that can are asked to send their updates; others send them in full, as they are.

    Attributes:
        encoding: of the update's difference to the round's base model; "full" is the update itself.
        compression: of the whole body, in HTTP.
    """

    encoding: UpdateEncoding = "full"
    compression: Compression = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What a training was created with. It does not change. Without `retention` every model version is kept."""

    name: str
    target_accuracy: float = 0.963
    max_rounds: int = 100
    aggregation: Aggregation = "fedavg"
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)
    round_policy: RoundPolicy = field(default_factory=RoundPolicy)
    evaluation_clients: int = 50
    uploads: Uploads = field(default_factory=Uploads)
    topology: Literal["star"] = "star"
    seed: int = 0
    retention: Retention | None = None

    def hyperparameter(self, name: str, default: float) -> float:
        """A numeric hyperparameter, or `default` where it is not given as a number."""
        value = self.hyperparameters.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training as stored. Instants are unix seconds.

    Attributes:
        stop_after: the number of the single round that was asked for, None while it runs on its own.
        failed_in_row: abandoned rounds since the last one that completed.
        next_round_at: no round begins before this instant (back-off after an abandoned one).
        paused_at: since when an open round's clock stands still.
        fence: how often its ownership has been taken; see the coordinator's lease.
    """

    id: str
    config: TrainingConfig
    created_at: float
    updated_at: float
    status: TrainingStatus = "created"
    stop_reason: StopReason | None = None
    stop_detail: str | None = None
    current_round: int = 0
    accuracy: float | None = None
    best_accuracy: float | None = None
    model: str | None = None
    stop_after: int | None = None
    failed_in_row: int = 0
    next_round_at: float = 0.0
    paused_at: float | None = None
    fence: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """What the end of a round means for its training."""

    event: Literal["complete", "fail", "rest"]
    stop_reason: StopReason | None = None


def ending(training: Training, *, accuracy: float | None, failed_in_row: int) -> Ending | None:
    """What its current round means for a training; None: it goes on with the next round.

    A round that was asked for singly leaves the training at rest, unless it reached the target.
    """
    config = training.config
    if accuracy is not None and accuracy >= config.target_accuracy:
        return Ending("complete", "target_accuracy")
    if training.stop_after is not None:
        return Ending("rest")
    if failed_in_row >= config.round_policy.max_failed_rounds:
        return Ending("fail", "too_many_failed_rounds")
    if training.current_round >= config.max_rounds:
        return Ending("complete", "max_rounds")
    return None


MAX_PAUSE_SECONDS = 30.0


def pause_after_failures(failed_in_row: int) -> float:
    """Seconds to wait before the next round after `failed_in_row` abandoned ones: 0, then 1, 2, 4, … at most 30."""
    doublings = min(failed_in_row - 1, 10)  # beyond the maximum long since, and never too large for a float
    return 0.0 if failed_in_row == 0 else min(MAX_PAUSE_SECONDS, 2.0**doublings)


def after_round(
    training: Training, *, completed: bool, accuracy: float | None, reason: str | None, now: float
) -> Training:
    """The training after its current round: it goes on, rests, or has come to its end.

    Args:
        training: one that is running.
        completed: whether the round did, or was abandoned.
        accuracy: of the round's model on held-out data, None where nobody measured it.
        reason: why the round was abandoned.
        now: unix seconds.
    """
    failed = 0 if completed else training.failed_in_row + 1
    measured = [known for known in (training.best_accuracy, accuracy) if known is not None]
    end = ending(training, accuracy=accuracy, failed_in_row=failed)
    training = replace(
        training,
        accuracy=training.accuracy if accuracy is None else accuracy,
        best_accuracy=max(measured, default=None),
        failed_in_row=failed,
        next_round_at=now + pause_after_failures(failed),
        updated_at=now,
    )
    if end is None:
        return training
    return replace(
        training,
        status=next_status(training.status, end.event),
        stop_reason=end.stop_reason,
        stop_detail=reason,
        stop_after=None,
        paused_at=now if end.event == "rest" else None,
    )
