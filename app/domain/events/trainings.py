"""Events of trainings and of their models."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from app.domain.events.event import Event, Subject
from app.domain.parameter_groups import Unmatched
from app.domain.progress import ProgressState
from app.domain.trainings import StopReason, Training, TrainingConfig, TrainingStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class OfTraining(Event):
    """The base of events of one training."""

    subject: ClassVar[Subject] = "training"

    training_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCreated(OfTraining):
    """A training was created."""

    type: ClassVar[str] = "training.created"

    name: Annotated[str, "its name"]
    origin: Annotated[str | None, "the training from which it started"] = None
    origin_round: Annotated[int | None, "the round whose model version it started from"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingChanged(OfTraining):
    """A user changed one field of a training's configuration."""

    type: ClassVar[str] = "training.changed"

    field: Annotated[str, "the name of the field, such as `round_policy.deadline_seconds`"]
    was: Annotated[Any, "its value before"]
    now: Annotated[Any, "its value from now on"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingModelUploaded(OfTraining):
    """The initial parameters of a training were uploaded."""

    type: ClassVar[str] = "training.model_uploaded"

    model: Annotated[str, "the SHA-256 of the model's file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingModelFetched(OfTraining):
    """A training had no parameters, so a selected client provided them."""

    type: ClassVar[str] = "training.model_fetched"

    model: Annotated[str, "the SHA-256 of the model's file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPatternsUnmatched(OfTraining):
    """A training got its first model, and patterns of its `parameters` match no tensor of it."""

    type: ClassVar[str] = "training.patterns_unmatched"

    averaged: Annotated[list[str], "the patterns of `averaged` that match no tensor"]
    local: Annotated[list[str], "those of `local`"]
    frozen: Annotated[list[str], "those of `frozen`"]


def patterns_unmatched(training_id: str, found: Unmatched) -> list[TrainingPatternsUnmatched]:
    """Give the event of a training whose patterns were `found` to match no tensor, if there are such patterns."""
    if not found:
        return []
    named = {name: list(getattr(found, name)) for name in ("averaged", "local", "frozen")}
    return [TrainingPatternsUnmatched(training_id=training_id, **named)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingAsked(OfTraining):
    """A user asked a training to run. It runs from then on."""

    was: Annotated[TrainingStatus, "its status before"]


class TrainingStarted(TrainingAsked):
    """A user started a training."""

    type: ClassVar[str] = "training.started"


class TrainingResumed(TrainingAsked):
    """A user resumed a training."""

    type: ClassVar[str] = "training.resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingExtended(TrainingAsked):
    """A user allowed a training that had ended more rounds."""

    type: ClassVar[str] = "training.extended"

    rounds: Annotated[int, "how many more"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRoundRequested(TrainingAsked):
    """A user asked for one round of a training: a new one, or the one that is open."""

    type: ClassVar[str] = "training.round_requested"

    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStopped(OfTraining):
    """A training stopped running, for a while or for good."""

    was: Annotated[TrainingStatus, "its status before"]
    reason: Annotated[StopReason | None, "its `stop_reason`"] = None
    detail: Annotated[str | None, "its `stop_detail`"] = None


class TrainingPaused(TrainingStopped):
    """A user paused a training, or the single round that a user asked for ended."""

    type: ClassVar[str] = "training.paused"


class TrainingCancelled(TrainingStopped):
    """A user cancelled a training."""

    type: ClassVar[str] = "training.cancelled"


class TrainingCompleted(TrainingStopped):
    """A training reached its target, or has run all of its rounds."""

    type: ClassVar[str] = "training.completed"


class TrainingFailed(TrainingStopped):
    """A training ended because too many of its rounds failed."""

    type: ClassVar[str] = "training.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressChanged(OfTraining):
    """The state of a training's `progress` changed."""

    was: Annotated[ProgressState, "the state of its `progress` before"]
    reason: Annotated[str | None, "what it waits for, or which problem stops it"] = None


class TrainingWaiting(ProgressChanged):
    """A training began to wait for something outside of the server, such as clients."""

    type: ClassVar[str] = "training.waiting"


class TrainingStalled(ProgressChanged):
    """A problem on the server stopped the progress of a training."""

    type: ClassVar[str] = "training.stalled"


class TrainingMoving(ProgressChanged):
    """A training that waited or stalled makes progress again."""

    type: ClassVar[str] = "training.moving"


_STOPS: Mapping[TrainingStatus, type[TrainingStopped]] = MappingProxyType(
    {
        "paused": TrainingPaused,
        "cancelled": TrainingCancelled,
        "completed": TrainingCompleted,
        "failed": TrainingFailed,
    }
)
_PROGRESS: Mapping[ProgressState, type[ProgressChanged]] = MappingProxyType(
    {"waiting": TrainingWaiting, "stalled": TrainingStalled, "moving": TrainingMoving}
)


def change_of(before: Training, after: Training) -> Event | None:
    """Make the event of a training that stopped, or whose progress changed its state; None if neither happened.

    A training that was asked to run has an event that says what was asked for, which only the caller knows.
    """
    if after.status != before.status:
        stop = _STOPS.get(after.status)
        if stop is None:
            return None
        return stop(training_id=after.id, was=before.status, reason=after.stop_reason, detail=after.stop_detail)
    was, now = before.progress, after.progress
    if was is None or now is None or was.state == now.state:
        return None
    return _PROGRESS[now.state](training_id=after.id, was=was.state, reason=now.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfModel(OfTraining):
    """The base of events of one version of a training's model: that of `round`, or the initial one if it is 0."""

    subject: ClassVar[Subject] = "model"

    round: int


class ModelPinned(OfModel):
    """A user pinned a version of a model, so that it is kept even if the training's `retention` would remove it."""

    type: ClassVar[str] = "model.pinned"


class ModelUnpinned(OfModel):
    """A user unpinned a version of a model, so that the training's `retention` decides again whether it is kept."""

    type: ClassVar[str] = "model.unpinned"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRemoved(OfModel):
    """A version of a model was removed."""

    type: ClassVar[str] = "model.removed"

    model: Annotated[str, "the SHA-256 of the model's file"]
    size: Annotated[int, "the size of the file in bytes"]


def changes_of(training_id: str, before: TrainingConfig, after: TrainingConfig) -> list[TrainingChanged]:
    """Give an event for each field that differs between two configurations of a training."""
    old, new = _fields(before), _fields(after)
    return [
        TrainingChanged(training_id=training_id, field=name, was=old.get(name), now=new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _fields(config: TrainingConfig) -> dict[str, Any]:
    """The fields of a configuration by names such as `selection.weights.compute`. Schedules are whole."""
    fields = asdict(config)
    schedules: dict[str, Any] = fields.pop("schedules")
    return _flat(fields) | schedules


def _flat(fields: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """The fields of nested objects under names such as `selection.weights.compute`."""
    found: dict[str, Any] = {}
    for name, entry in fields.items():
        found |= _flat(entry, f"{place}{name}.") if isinstance(entry, Mapping) else {f"{place}{name}": entry}
    return found
