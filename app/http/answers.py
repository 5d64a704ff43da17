"""Turn stored and planned values into responses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from app.domain.clients import Client
from app.domain.invitations import Invitation, InvitationState
from app.domain.keys import ApiKey, KeyState
from app.domain.rounds import Participation, Round
from app.domain.trainings import DEADLINE, OF_HYPERPARAMETERS, Training
from app.services.access.api_keys import NewKey
from app.services.access.enrolments import Enrolled
from app.services.access.invitations import NewInvitation
from app.store.models import MeasuredVersion
from tcsfeel.contract.clients import ClientOut, ClientProfile, ConflictOut, FailuresOut, MeasuredOut
from tcsfeel.contract.goals import GoalOut, SummaryOut
from tcsfeel.contract.invitations import CreatedInvitation, EnrolledOut, InvitationOut
from tcsfeel.contract.keys import KeyOut, NewKeyOut
from tcsfeel.contract.models import ListedModelOut, ModelVersionOut
from tcsfeel.contract.operations import Ready
from tcsfeel.contract.parameter_groups import ParameterGroupsOut
from tcsfeel.contract.round_policies import RoundPolicyOut
from tcsfeel.contract.rounds import ClientEvaluationOut, ParticipationOut, RoundOut
from tcsfeel.contract.schedules import shown_schedule
from tcsfeel.contract.selections import (
    ChosenOut,
    ComparedOut,
    ExplainedSelection,
    PlanOut,
    RoundSelectionOut,
    SelectionOut,
    SkippedOut,
)
from tcsfeel.contract.trainings import EvaluationOut, OriginOut, TrainingOut
from tcsfeel.selection.types import Selection
from tcsfeel.wire.tasks import ACCURACY

_PROFILE = [name for name in ClientProfile.model_fields if name != "auth_token"]
_STATE = (
    "id", "status", "stop_reason", "stop_detail", "current_round", "accuracy", "best_accuracy", "goal_value",
    "best_value", "best_round", "model", "created_at", "updated_at", "progress",
)  # fmt: skip
_CONFIG = (
    "name", "max_rounds", "recipe", "aggregation", "selection", "where", "uploads",
    "topology", "seed", "retention", "statistics",
)  # fmt: skip
_FIGURES = ("strategy", "total_cost", "label_divergence", "fairness", "expected_seconds")


def client_out(client: Client) -> ClientOut:
    """Show a client, without its token."""
    return ClientOut(
        id=client.id,
        **{name: getattr(client.profile, name) for name in _PROFILE},
        status=client.status,
        breaker=client.breaker.state,
        measured=MeasuredOut.of(client.measured),
        failures=FailuresOut.of(client.failures),
        conflict=client.identity.conflict and ConflictOut.of(client.identity.conflict),
        rounds_selected=client.rounds_selected,
        rounds_completed=client.rounds_completed,
        last_seen_at=client.last_seen_at,
        created_at=client.created_at,
        updated_at=client.updated_at,
        public_key=client.public_key,
        enrolled_at=client.enrolled_at,
        invitation_id=client.invitation_id,
        unproven=client.unproven,
    )


def invitation_out(invitation: Invitation, state: InvitationState) -> InvitationOut:
    """Show an invitation, without its secret."""
    return InvitationOut(**_invitation(invitation), state=state)


def created_invitation(new: NewInvitation, state: InvitationState) -> CreatedInvitation:
    """Show an invitation that was just made, with its secret."""
    return CreatedInvitation(**_invitation(new.invitation), state=state, secret=new.secret)


def _invitation(invitation: Invitation) -> dict[str, Any]:
    names = InvitationOut.model_fields.keys() - {"state", "tags"}
    return {name: getattr(invitation, name) for name in names} | {"tags": dict(invitation.tags)}


def enrolled_out(enrolled: Enrolled) -> EnrolledOut:
    """Show a device what it gets, with its key."""
    return EnrolledOut(
        client_id=enrolled.client_id,
        key=enrolled.key.text,
        key_id=enrolled.key.key.id,
        tags=dict(enrolled.tags),
        server_public_key=enrolled.server_public_key,
    )


def training_out(training: Training) -> TrainingOut:
    """Show a training, with its configuration and its progress."""
    config = training.config
    schedules = {place: shown_schedule(schedule) for place, schedule in config.schedules.items()}
    deadline = schedules.pop(DEADLINE, config.round_policy.deadline_seconds)
    scheduled = {place.removeprefix(OF_HYPERPARAMETERS): shown for place, shown in schedules.items()}
    return TrainingOut(
        **{name: getattr(training, name) for name in _STATE},
        **{name: getattr(training.config, name) for name in _CONFIG},
        hyperparameters={**config.hyperparameters, **scheduled},
        round_policy=RoundPolicyOut(**asdict(config.round_policy) | {"deadline_seconds": deadline}),
        goal=GoalOut.of(training.config.goal),
        target_accuracy=training.config.goal.target if training.config.goal.metric == ACCURACY else None,
        origin=_origin(training),
        unmatched_patterns=_unmatched(training),
        evaluation=EvaluationOut(
            clients=training.config.evaluation_clients, tags=dict(training.config.evaluation_tags)
        ),
        parameters=ParameterGroupsOut(
            averaged=list(training.config.statistics),
            local=list(training.config.parameters.local),
            frozen=list(training.config.parameters.frozen),
        ),
    )


def _unmatched(training: Training) -> ParameterGroupsOut | None:
    found = training.unmatched
    if found is None:
        return None
    return ParameterGroupsOut(averaged=list(found.averaged), local=list(found.local), frozen=list(found.frozen))


def _origin(training: Training) -> OriginOut | None:
    origin = training.origin
    if origin is None:
        return None
    return OriginOut(training=origin.training_id, round=origin.round, model=origin.model, optimiser=origin.optimiser)


def listed_model(measured: MeasuredVersion) -> ListedModelOut:
    """Show a model version as the history lists it."""
    version = measured.version
    return ListedModelOut(
        **{name: getattr(version, name) for name in (*ModelVersionOut.model_fields, "removed_at")},
        accuracy=measured.accuracy,
        goal_value=measured.goal_value,
        pinned=version.pinned_at is not None,
    )


def ready(findings: Mapping[str, str]) -> Ready:
    """Show the result of each check; the process is ready if no check found a problem."""
    well = all(finding == "ok" for finding in findings.values())
    return Ready(status="ready" if well else "not ready", checks=dict(findings))


def round_out(found: Round) -> RoundOut:
    """Show a round. It converts clients one by one, since all at once would hold the interpreter."""
    return _round_out(found, found.participations, found.evaluations)


def listed_round(found: Round) -> RoundOut:
    """Show a round in a list, in which each failure is one line, and without signatures."""
    return _round_out(found, *(map(_in_a_line, parts) for parts in (found.participations, found.evaluations)))


def _in_a_line(part: Participation) -> Participation:
    return replace(part, traceback=None, evidence=None) if part.traceback or part.evidence else part


def _round_out(found: Round, participations: Iterable[Participation], evaluations: Iterable[Participation]) -> RoundOut:
    lists = {
        "participations": [ParticipationOut.of(part) for part in participations],
        "evaluations": [ClientEvaluationOut.of(one) for one in evaluations],
        "plan": found.plan and PlanOut.of(found.plan),
        "metrics": {name: SummaryOut.of(summary) for name, summary in found.metrics.items()},
        "training_metrics": {name: SummaryOut.of(summary) for name, summary in found.training_metrics.items()},
    }
    return RoundOut(**{name: lists[name] if name in lists else getattr(found, name) for name in RoundOut.model_fields})


def round_selection(selection: Selection) -> RoundSelectionOut:
    """Show a round as it was planned."""
    return RoundSelectionOut(**_explained(selection))


def planned_selection(
    planned: Sequence[tuple[Selection, float]], *, connectivity_version: int, seed: int
) -> SelectionOut:
    """Show the selection that was requested and those to compare it with, and how long each took in ms."""
    (selection, duration_ms), *others = planned
    chosen = {*selection.client_ids}
    return SelectionOut(
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


def _explained(selection: Selection) -> dict[str, Any]:
    """Make the fields of an `ExplainedSelection`, one client at a time: all at once would hold the interpreter."""
    lists = {
        "selected": [ChosenOut.of(chosen) for chosen in selection.selected],
        "skipped": [SkippedOut.of(skipped) for skipped in selection.skipped],
        "plan": PlanOut.of(selection.plan),
    }
    return {
        name: lists[name] if name in lists else getattr(selection, name) for name in ExplainedSelection.model_fields
    }


_KEY = (
    "id", "name", "role", "client_id", "created_at", "created_by", "expires_at", "revoked_at", "last_used_at",
    "replaces",
)  # fmt: skip


def key_out(key: ApiKey, state: KeyState) -> KeyOut:
    """Show a key. Its text is not known."""
    return KeyOut(state=state, **{name: getattr(key, name) for name in _KEY})


def new_key_out(new: NewKey, state: KeyState) -> NewKeyOut:
    """Show a key that was just made, with its text."""
    return NewKeyOut(state=state, key=new.text, **{name: getattr(new.key, name) for name in _KEY})
