"""Events of rounds, and of the clients in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from app.domain.events.event import Event, Subject
from app.domain.rounds import Participation, ParticipationStatus, Round, newly_selected
from app.domain.summaries import TargetDoubt
from tcsfeel.wire.tasks import TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class OfRound(Event):
    """The base of events of one round."""

    subject: ClassVar[Subject] = "round"

    training_id: str
    round: int


class RoundStarted(OfRound):
    """A round of a training began."""

    type: ClassVar[str] = "round.started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlanned(OfRound):
    """The clients of a round were selected."""

    type: ClassVar[str] = "round.planned"

    clients: Annotated[tuple[str, ...], "the ids of the selected clients"]
    cost: Annotated[float, "the communication cost of the plan"]
    carried: Annotated[tuple[str, ...] | None, "the ids of clients whose tasks earlier rounds have carried into it"] = (
        None
    )


def planned_of(round_: Round) -> RoundPlanned:
    """Make the event of a round that was planned."""
    carried = tuple(part.client_id for part in round_.participations if part.begun_in is not None)
    return RoundPlanned(
        training_id=round_.training_id,
        round=round_.number,
        clients=tuple(newly_selected(round_)),
        cost=round_.communication_cost or 0.0,
        carried=carried or None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAggregated(OfRound):
    """The new model of a round was computed from its updates and stored."""

    type: ClassVar[str] = "round.aggregated"

    model: Annotated[str, "the SHA-256 of the new model's file"]
    parent: Annotated[str | None, "the SHA-256 of the model that the round began with"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTargetDoubted(OfRound):
    """A round reached the target only because of this client's measurement, so the training goes on."""

    type: ClassVar[str] = "round.target_doubted"

    client_id: str
    value: Annotated[float | None, "what the round measured of the goal's metric"]
    without: Annotated[float, "the mean without this client"]


def doubt_of(round_: Round, doubt: TargetDoubt) -> RoundTargetDoubted:
    """Make the event of a round whose accuracy was not accepted as reaching the target."""
    return RoundTargetDoubted(
        training_id=round_.training_id,
        round=round_.number,
        client_id=doubt.client_id,
        value=round_.goal_value,
        without=doubt.mean,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundEnded(OfRound):
    """A round ended. The fields are the same whether its owner or a user ended it."""

    accuracy: Annotated[float | None, "the measured accuracy of the new model"]
    loss: Annotated[float | None, "the measured loss of the new model"]
    goal_value: Annotated[float | None, "what was measured of the goal's metric"]
    reason: Annotated[str | None, "why the round was abandoned, or why its model was not measured"]
    model: Annotated[str | None, "the SHA-256 of the new model's file"]
    cost: Annotated[float | None, "the communication cost of the plan"]


class RoundCompleted(RoundEnded):
    """A round ended with a new model."""

    type: ClassVar[str] = "round.completed"


class RoundAbandoned(RoundEnded):
    """A round ended without a new model, because of what happened in it or because its training was cancelled."""

    type: ClassVar[str] = "round.abandoned"


def end_of(round_: Round) -> RoundEnded:
    """Make the event of a round that has ended."""
    kind = RoundCompleted if round_.status == "completed" else RoundAbandoned
    return kind(
        training_id=round_.training_id,
        round=round_.number,
        accuracy=round_.average_accuracy,
        loss=round_.average_loss,
        goal_value=round_.goal_value,
        reason=round_.failure_reason,
        model=round_.model,
        cost=round_.communication_cost,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OfParticipation(OfRound):
    """The base of events of one client's participation in a round."""

    subject: ClassVar[Subject] = "participation"

    client_id: str
    reason: Annotated[str | None, "why no update of the client counts"] = None


class ParticipationSkipped(OfParticipation):
    """A round stopped waiting for the update of a client."""

    type: ClassVar[str] = "participation.skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipationCarried(OfParticipation):
    """A round went on without a client that was still at work. The client keeps its task for a later round."""

    type: ClassVar[str] = "participation.carried"

    begun_in: Annotated[int, "the round in which the task began"]
    base_model: Annotated[str | None, "the SHA-256 of the model that the task began with"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipationRerouted(OfParticipation):
    """The update of a client did not come through its relay, so the server asks the client itself."""

    type: ClassVar[str] = "participation.rerouted"

    relay: Annotated[str, "the client that was to relay its update"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipationEnded(OfParticipation):
    """A client's participation in a round ended."""

    num_examples: Annotated[int | None, "how many examples the client trained with"] = None
    loss: Annotated[float | None, "the loss that the client reported"] = None
    accuracy: Annotated[float | None, "the accuracy that the client reported"] = None
    metrics: Annotated[Mapping[str, float] | None, "what the client reported besides the loss, by name"] = None
    seconds: Annotated[
        float | None,
        "seconds from the first time that the client was given the task to the end; of a carried task, in this round",
    ] = None
    relay: Annotated[str | None, "the client that relayed the update, in a mean with others"] = None
    begun_in: Annotated[int | None, "the round in which its task began, if it was carried from that round"] = None
    base_model: Annotated[str | None, "the SHA-256 of the model that a carried task began with"] = None
    staleness: Annotated[int | None, "how many model versions old that model was, when the round began"] = None
    num_steps: Annotated[int | None, "how many local steps the client took, if it handed over a part of them"] = None
    asked_steps: Annotated[int | None, "how many local steps its task asked for, in that case"] = None


class ParticipationReceived(ParticipationEnded):
    """The update of a client was received."""

    type: ClassVar[str] = "participation.received"


class ParticipationRejected(ParticipationEnded):
    """The update of a client was refused, when it was checked on arrival or later compared with the others."""

    type: ClassVar[str] = "participation.rejected"


class ParticipationFailed(ParticipationEnded):
    """A client did not send an update."""

    type: ClassVar[str] = "participation.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfEvaluation(OfRound):
    """The base of events of one client's evaluation of the model that a round made."""

    subject: ClassVar[Subject] = "evaluation"

    client_id: str
    reason: Annotated[str | None, "why no result of the client counts"] = None
    num_examples: Annotated[int | None, "how many held-out examples the client has"] = None
    loss: Annotated[float | None, "the loss that the client measured"] = None
    accuracy: Annotated[float | None, "the accuracy that the client measured"] = None
    metrics: Annotated[Mapping[str, float] | None, "what the client measured besides the loss, by name"] = None
    seconds: Annotated[float | None, "seconds from the first time that the client was given the task to the end"] = None


class EvaluationReceived(OfEvaluation):
    """A client measured the new model of a round."""

    type: ClassVar[str] = "evaluation.received"


class EvaluationRejected(OfEvaluation):
    """A client's measurement of a new model was refused."""

    type: ClassVar[str] = "evaluation.rejected"


class EvaluationFailed(OfEvaluation):
    """A client was asked to measure a new model and did not do it."""

    type: ClassVar[str] = "evaluation.failed"


class EvaluationSkipped(OfEvaluation):
    """A client has no examples to measure with, or the round did not wait for its answer."""

    type: ClassVar[str] = "evaluation.skipped"


_ENDS: Mapping[tuple[TaskKind, ParticipationStatus], type[ParticipationEnded | OfEvaluation]] = MappingProxyType(
    {
        ("fit", "received"): ParticipationReceived,
        ("fit", "rejected"): ParticipationRejected,
        ("fit", "failed"): ParticipationFailed,
        ("evaluate", "received"): EvaluationReceived,
        ("evaluate", "rejected"): EvaluationRejected,
        ("evaluate", "failed"): EvaluationFailed,
        ("evaluate", "skipped"): EvaluationSkipped,
    }
)


def end_of_part(round_: Round, part: Participation) -> OfParticipation | OfEvaluation:
    """Make the event of a participation or an evaluation that has ended."""
    if (part.kind, part.status) == ("fit", "skipped"):
        return ParticipationSkipped(
            training_id=round_.training_id, round=round_.number, client_id=part.client_id, reason=part.reason
        )
    if (part.kind, part.status) == ("fit", "carried"):
        return ParticipationCarried(
            training_id=round_.training_id,
            round=round_.number,
            client_id=part.client_id,
            reason=part.reason,
            begun_in=part.begun_in or round_.number,
            base_model=part.base_model,
        )
    more: dict[str, Any] = {} if part.relay is None else {"relay": part.relay}
    if part.begun_in is not None:
        more |= {"begun_in": part.begun_in, "base_model": part.base_model, "staleness": part.staleness}
    if part.asked_steps is not None:
        more |= {"num_steps": part.num_steps, "asked_steps": part.asked_steps}
    return _ENDS[part.kind, part.status](
        training_id=round_.training_id,
        round=round_.number,
        client_id=part.client_id,
        reason=part.reason,
        num_examples=part.num_examples,
        loss=part.loss,
        accuracy=part.accuracy,
        metrics=part.metrics or None,
        seconds=part.seconds,
        **more,
    )
