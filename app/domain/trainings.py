"""A training: one federated-learning job, its policy, and the states that it goes through."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from app.domain.eligibility import ANYWHERE, Where
from app.domain.errors import StateForbids
from app.domain.parameter_groups import ParameterGroups, Unmatched
from app.domain.progress import Progress, ProgressState, progressed
from app.domain.retention import Retention
from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.aggregation.goals import Goal
from tcsfeel.schedules import Schedule
from tcsfeel.selection.types import LARGEST_MULTIPLE, Weights
from tcsfeel.transfers import Topology
from tcsfeel.wire.compression import Compression
from tcsfeel.wire.tasks import EncodingName

TrainingStatus = Literal["created", "running", "paused", "completed", "failed", "cancelled"]
StopReason = Literal["target_accuracy", "target", "no_improvement", "max_rounds", "cancelled", "too_many_failed_rounds"]
RunEvent = Literal["start", "resume", "run one round of", "extend"]
TrainingEvent = Literal[RunEvent, "pause", "cancel", "complete", "fail", "rest"]

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
    ("failed", "start"): "running",
    ("failed", "resume"): "running",
    ("failed", "run one round of"): "running",
    ("failed", "extend"): "running",
    ("completed", "extend"): "running",
}
STOPPED: frozenset[TrainingStatus] = frozenset({"completed", "failed", "cancelled"})  # nothing runs until a user asks


def next_status(status: TrainingStatus, event: TrainingEvent) -> TrainingStatus:
    """Return the status after `event`. Raises `StateForbids` if the table does not allow it."""
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
    largest_multiple: float | None = LARGEST_MULTIPLE
    weights: Weights = field(default_factory=Weights)
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPolicy:
    """When a round ends (after Bonawitz et al., "Towards federated learning at scale", 2019).

    Attributes:
        deadline_seconds: the longest that a round may take, evaluation included.
        quorum: the share of the selected clients whose updates a round needs, in (0, 1]. With fewer, it is abandoned.
        over_selection: by which factor more clients are selected than the goal, at least 1.
        grace_seconds: how long a round waits for stragglers once it has its quorum.
        max_failed_rounds: abandoned rounds in a row that end the training.
        max_wait_seconds: the longest that one round waits for clients or makes no progress; 0 abandons it at once.
        stragglers: whether a client that is still at work when a round goes on keeps its task; see `carrying`.
        max_staleness: how many rounds later than it began such a task may end, at least 1.
        local_work: whether slow clients do fewer local epochs; see `local_work`.
    """

    deadline_seconds: float = 600.0
    quorum: float = 0.6
    over_selection: float = 1.0
    grace_seconds: float = 10.0
    max_failed_rounds: int = 3
    max_wait_seconds: float = 3600.0
    stragglers: Literal["skip", "carry"] = "skip"
    max_staleness: int = 5
    local_work: Literal["full", "elastic"] = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """How agents are asked to send their updates. Agents that cannot do this send them in full.

    Attributes:
        encoding: of the update's difference to the round's base model; "full" is the update itself.
        compression: of the whole body, in HTTP.
    """

    encoding: EncodingName = "full"
    compression: Compression = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(AggregationConfig):
    """What a training was created with, and what users changed since. Without `retention` every model version is kept.

    `statistics` are the patterns of `parameters.averaged`; `parameters` has the other groups of tensors.

    Only clients with all the `evaluation_tags` are asked to evaluate. `schedules` are by the field whose values they
    give, such as `hyperparameters.learning_rate`.
    """

    name: str
    goal: Goal = field(default_factory=lambda: Goal(target=0.963))
    max_rounds: int = 100
    recipe: str | None = None
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    where: Where = ANYWHERE
    round_policy: RoundPolicy = field(default_factory=RoundPolicy)
    evaluation_clients: int = 50
    evaluation_tags: Mapping[str, str] = field(default_factory=dict)
    uploads: Uploads = field(default_factory=Uploads)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    topology: Topology = "star"
    seed: int = 0
    retention: Retention | None = None
    parameters: ParameterGroups = field(default_factory=ParameterGroups)

    def in_round(self, number: int) -> "TrainingConfig":
        """Return the configuration with the values that its schedules give a round, and without schedules."""
        values, policy = dict(self.hyperparameters), self.round_policy
        for place, schedule in self.schedules.items():
            value = schedule.at(number)
            if place == DEADLINE:
                policy = replace(policy, deadline_seconds=value)
            else:
                name = place.removeprefix(OF_HYPERPARAMETERS)
                values[name] = round(value) if name in WHOLE_NUMBERS else value
        return replace(self, hyperparameters=values, round_policy=policy, schedules={})


DEADLINE = "round_policy.deadline_seconds"
OF_HYPERPARAMETERS = "hyperparameters."
WHOLE_NUMBERS = frozenset({"local_epochs", "batch_size"})  # whose values a schedule rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The model version that a training started from: that of a round in another training.

    With `optimiser`, it also started from the state that the server optimiser had then.
    """

    training_id: str
    round: int
    model: str
    optimiser: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training as it is stored. Times are in unix seconds.

    Attributes:
        stop_after: the number of the single round that was asked for, None while it runs on its own.
        accuracy: the mean accuracy of the newest model that was measured, on held-out data; None where there is none.
        goal_value: the same of the goal's metric.
        best_value: the best value of the goal's metric so far, which `best_round` measured.
        plateau_value: what the value must be better than to count as an improvement.
        plateau_rounds: measured rounds since the last improvement.
        failed_in_row: abandoned rounds since the last one that completed.
        next_round_at: no round begins before this instant (back-off after an abandoned one).
        paused_at: since when the clock of an open round has been stopped.
        fence: how often its ownership has been taken; see the coordinator's lease.
        progress: of a running one; None otherwise.
        outage_since: when the first of its newest rounds was abandoned because agents could not be reached; None
            if another round came after them.
        unmatched: the patterns of its groups that match no tensor of its first model; None if there are none.
        created_by: the name of the caller that created it; None if an earlier version of the server did.
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
    goal_value: float | None = None
    best_value: float | None = None
    best_round: int | None = None
    plateau_value: float | None = None
    plateau_rounds: int = 0
    model: str | None = None
    stop_after: int | None = None
    failed_in_row: int = 0
    next_round_at: float = 0.0
    paused_at: float | None = None
    fence: int = 0
    progress: Progress | None = None
    outage_since: float | None = None
    origin: Origin | None = None
    unmatched: Unmatched | None = None
    created_by: str | None = None

    @property
    def begins_after(self) -> int:
        """The number of the round whose version it began with; 0 if it did not start from another training."""
        return 0 if self.origin is None else self.origin.round


@dataclass(frozen=True, slots=True)
class Ending:
    """What the end of a round means for its training."""

    event: Literal["complete", "fail", "rest"]
    stop_reason: StopReason | None = None
    detail: str | None = None


def with_progress(training: Training, state: ProgressState, reason: str | None, now: float) -> Training:
    """Return a running training with its new progress, or with the `reason` why it makes none."""
    return replace(training, progress=progressed(training.progress, state, reason, now))


def ended(training: Training, end: Ending, now: float) -> Training:
    """Return a running training after `end`. `now` is in unix seconds."""
    return replace(
        training,
        status=next_status(training.status, end.event),
        stop_reason=end.stop_reason,
        stop_detail=end.detail,
        stop_after=None,
        paused_at=now if end.event == "rest" else None,
        updated_at=now,
        progress=None,
    )


def resumed(training: Training, event: RunEvent, now: float, stop_after: int | None = None) -> Training:
    """Return the training after a user has asked for it to run, without the reason why it stopped before.

    `stop_after` is the number of the only round that it shall run; None if it runs on its own. Raises `StateForbids`.
    """
    spent = training.current_round >= training.config.max_rounds
    if spent and training.stop_reason == "max_rounds" and event in {"start", "resume"}:
        state = f"{training.status} after all of its rounds, of which max_rounds allows {training.config.max_rounds}"
        raise StateForbids(event, "training", f"{state}: extend it, or run single rounds")
    return replace(
        training,
        status=next_status(training.status, event),
        stop_after=stop_after,
        stop_reason=None,
        stop_detail=None,
        failed_in_row=0,
        next_round_at=0.0,
        paused_at=None,
        updated_at=now,
        progress=Progress("moving", now),
        outage_since=None,
    )


def paused(training: Training, now: float) -> Training:
    """Return the training after a user has paused it. Raises `StateForbids`."""
    return replace(training, status=next_status(training.status, "pause"), paused_at=now, progress=None, updated_at=now)


def cancelled(training: Training, detail: str, now: float) -> Training:
    """Return the training after a user has cancelled it; `detail` says how far it came. Raises `StateForbids`."""
    return replace(
        training,
        status=next_status(training.status, "cancel"),
        stop_reason="cancelled",
        stop_detail=detail,
        stop_after=None,
        paused_at=None,
        progress=None,
        updated_at=now,
    )


def check_initial_model(training: Training) -> None:
    """Raise `StateForbids` if a user may not give the training its first model any more."""
    if training.origin is not None:
        raise StateForbids("upload initial parameters for", "training", "started from another one's version")
    if training.status != "created":
        raise StateForbids("upload initial parameters for", "training", training.status)
    if training.current_round > 0:
        raise StateForbids("upload initial parameters for", "training", "past its first round")
