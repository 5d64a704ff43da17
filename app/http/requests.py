"""Turn bodies into values of the domain, and refuse mistakes that only this server can find."""

import base64
from collections.abc import Collection, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr, ValidationError

from app.domain.clients import Profile
from app.domain.eligibility import Where
from app.domain.failures import Failure
from app.domain.parameter_groups import ParameterGroups
from app.domain.reports import Report
from app.domain.retention import Retention
from app.domain.trainings import (
    DEADLINE,
    OF_HYPERPARAMETERS,
    RoundPolicy,
    SelectionConfig,
    Training,
    TrainingConfig,
    Uploads,
)
from app.http.answers import training_out
from app.settings import TrainingSettings
from tcsfeel.aggregation.goals import Goal
from tcsfeel.contract.clients import ChangeClient, ClientProfile
from tcsfeel.contract.connectivity import EdgeChange, EdgeIn, ReplaceConnectivity
from tcsfeel.contract.invitations import EnrolClient
from tcsfeel.contract.outcomes import ReportOutcome
from tcsfeel.contract.round_policies import RoundPolicyIn
from tcsfeel.contract.schedules import ScheduleIn
from tcsfeel.contract.selections import PlanSelection, SelectionRules, WeightsIn
from tcsfeel.contract.training_changes import ChangeTraining, ExtendTraining, ForkTraining
from tcsfeel.contract.trainings import CreateTraining
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.schedules import Schedule
from tcsfeel.selection import parameters_of, strategies, unfit
from tcsfeel.selection.types import SelectionPolicy, Weights

Place = tuple[str | int, ...]


def profile(body: ClientProfile) -> Profile:
    """Make the profile of a client from its registration."""
    fields = {name: getattr(body, name) for name in ClientProfile.model_fields}
    return Profile(**_revealed(fields))


def proof(body: EnrolClient) -> bytes:
    """Return the signature of a device, which has the form of one."""
    return base64.urlsafe_b64decode(f"{body.proof}==")


def changes(body: ChangeClient) -> dict[str, Any]:
    """Return the values that were sent, by field of `Profile`."""
    return _revealed({name: getattr(body, name) for name in body.model_fields_set})


def report(body: ReportOutcome) -> Report:
    """Make the report of an outside coordinator."""
    failure = Failure(phase=body.phase, kind=body.kind, reason=body.reason or "no reason was given")
    return Report(
        failure=None if body.success else failure,
        phase=body.phase,
        seconds=body.seconds,
        slow=body.slow,
        update_quality=body.update_quality,
        reliability=body.reliability,
    )


def _revealed(fields: dict[str, Any]) -> dict[str, Any]:
    token = fields.get("auth_token")
    return fields | {"auth_token": token.get_secret_value()} if isinstance(token, SecretStr) else fields


def training_config(body: CreateTraining, defaults: TrainingSettings) -> TrainingConfig:
    """Make the configuration to store. `defaults` gives the target and the number of rounds if they were left out.

    Raises:
        RequestValidationError: this server has no such strategy, or the strategy no such parameter.
    """
    rules = body.selection
    _refuse_unknown(rules, ("selection",))
    return TrainingConfig(
        name=body.name,
        goal=_goal(body, defaults),
        max_rounds=defaults.max_rounds if body.max_rounds is None else body.max_rounds,
        recipe=body.recipe,
        aggregation=body.aggregation,
        selection=SelectionConfig(
            strategy=rules.strategy,
            min_clients=rules.min_clients,
            max_clients=rules.max_clients,
            budget_constraint=rules.budget_constraint,
            largest_multiple=rules.largest_multiple,
            weights=_weights(rules.weights),
            parameters=rules.parameters,
        ),
        where=Where(
            tags=body.where.tags,
            clients=tuple(body.where.clients),
            exclude=tuple(body.where.exclude),
            min_data_size=body.where.min_data_size,
            min_reliability=body.where.min_reliability,
        ),
        hyperparameters=body.hyperparameters.values(body.aggregation),
        round_policy=_round_policy(body.round_policy),
        schedules=_schedules(body),
        evaluation_clients=body.evaluation.clients,
        evaluation_tags=body.evaluation.tags,
        uploads=Uploads(**body.uploads.model_dump()),
        topology=body.topology,
        seed=body.seed,
        retention=None if body.retention is None else Retention(**body.retention.model_dump()),
        statistics=tuple(body.parameters.averaged or body.statistics),
        parameters=ParameterGroups(local=tuple(body.parameters.local), frozen=tuple(body.parameters.frozen)),
    )


def _round_policy(body: RoundPolicyIn) -> RoundPolicy:
    fields = body.model_dump()
    if isinstance(body.deadline_seconds, ScheduleIn):
        fields["deadline_seconds"] = body.deadline_seconds.made().at(1)
    return RoundPolicy(**fields)


def _schedules(body: CreateTraining) -> dict[str, Schedule]:
    found = {f"{OF_HYPERPARAMETERS}{name}": made for name, made in body.hyperparameters.schedules().items()}
    if isinstance(body.round_policy.deadline_seconds, ScheduleIn):
        found[DEADLINE] = body.round_policy.deadline_seconds.made()
    return found


def changed_config(
    body: ChangeTraining | ExtendTraining | ForkTraining, training: Training, defaults: TrainingSettings
) -> TrainingConfig:
    """Make the configuration of a training that is changed or extended, or of one that starts from it.

    Raises:
        RequestValidationError: a training could not be created like this.
    """
    try:
        return training_config(body.applied_to(training_out(training)), defaults)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise RequestValidationError([{**entry, "loc": ("body", *entry["loc"])} for entry in found]) from None


def _goal(body: CreateTraining, defaults: TrainingSettings) -> Goal:
    if body.goal is not None:
        return body.goal.goal()
    return Goal(target=defaults.target_accuracy if body.target_accuracy is None else body.target_accuracy)


def selection_policy(body: PlanSelection) -> SelectionPolicy:
    """Make the policy for planning a round.

    Raises:
        RequestValidationError: this server has no such strategy, or the strategy no such parameter.
    """
    _refuse_unknown(body, (), compare=body.compare)
    return SelectionPolicy(
        min_clients=body.min_clients,
        max_clients=body.max_clients,
        budget_constraint=body.budget_constraint,
        largest_multiple=body.largest_multiple,
        weights=_weights(body.weights),
        model_bytes=body.model_bytes,
        topology=body.topology,
        parameters=body.parameters,
    )


def edge(body: EdgeIn | EdgeChange) -> Edge:
    """Make a link; a cost of None removes it."""
    return Edge(body.source, body.target, body.cost)


def connectivity(body: ReplaceConnectivity, known: Collection[str]) -> Connectivity:
    """Make the links of some of the clients in `known`. Raises `InvalidConnectivity`."""
    if body.edges is not None:
        return Connectivity.from_edges(sorted(known), map(edge, body.edges))
    return Connectivity.from_matrix(body.client_ids or [], body.costs or [], known=known)


def _weights(body: WeightsIn) -> Weights:
    return Weights(body.data_quality, body.communication, body.compute, body.fairness)


def _refuse_unknown(rules: SelectionRules, place: Place, *, compare: Sequence[str] = ()) -> None:
    """Refuse strategies that are not installed, and parameters that the strategies do not have."""
    known = strategies()
    named: list[tuple[Place, str]] = [(("strategy",), rules.strategy)]
    named += [(("compare", number), name) for number, name in enumerate(compare)]
    wrong = [(where, f"should be one of {', '.join(sorted(known))}") for where, name in named if name not in known]
    if not wrong:
        declared = parameters_of(known[rules.strategy])
        wrong = [(("parameters", name), rule) for name, rule in unfit(declared, rules.parameters)]
    if wrong:
        raise RequestValidationError(
            [
                {"type": "value_error", "loc": ("body", *place, *where), "msg": f"Value error, {rule}"}
                for where, rule in wrong
            ]
        )
