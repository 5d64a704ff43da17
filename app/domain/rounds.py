"""The round's state machine.

    selecting -> training -> aggregating -> evaluating -> completed
    selecting, training, aggregating -> abandoned

Each arrow is one database transaction. So after a crash, the next owner finds the round in a named status and continues
from there:

- selecting: nothing was sent. Planning again with the stored seed gives the same plan.
- training: the plan was stored before the first byte went out. Updates already received are kept; the others are
  polled, or handed over again under the same task id, which an agent trains once.
- aggregating: the set of updates is frozen, and aggregation is deterministic: doing it again gives the same bytes.
- evaluating: the new model version is committed. Only measurements are missing, so it cannot be abandoned any more.
  Evaluations are participations too: those that were received are kept, and the others are polled or handed over again.

An event that is not in `TRANSITIONS` raises an error and changes nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from app.domain.errors import IllegalTransition
from app.domain.summaries import Summary, TargetDoubt
from app.domain.trainings import RoundPolicy, Training, TrainingConfig
from tcsfeel.aggregation.goals import Goal
from tcsfeel.selection.types import Plan
from tcsfeel.text import LONGEST, listed, plain
from tcsfeel.wire.tasks import EncodingName, Scalar, TaskKind

RoundStatus = Literal["selecting", "training", "aggregating", "evaluating", "completed", "abandoned"]
RoundEvent = Literal["planned", "frozen", "committed", "measured", "abandoned"]
ParticipationStatus = Literal["pending", "training", "received", "rejected", "failed", "skipped", "carried"]

TRANSITIONS: Mapping[tuple[RoundStatus, RoundEvent], RoundStatus] = {
    ("selecting", "planned"): "training",
    ("training", "frozen"): "aggregating",
    ("aggregating", "committed"): "evaluating",
    ("evaluating", "measured"): "completed",
    ("selecting", "abandoned"): "abandoned",
    ("training", "abandoned"): "abandoned",
    ("aggregating", "abandoned"): "abandoned",
}
KINDS: tuple[TaskKind, TaskKind] = ("fit", "evaluate")
"""The kinds of participations: the ways in which a client takes part in a round."""
ENDED: frozenset[RoundStatus] = frozenset({"completed", "abandoned"})
OUTSTANDING: frozenset[ParticipationStatus] = frozenset({"pending", "training"})


def next_status(status: RoundStatus, event: RoundEvent) -> RoundStatus:
    """Return the status after `event`. Raises `IllegalTransition` if the table does not allow it."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransition(status, event) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What proves that the device with a client's key has sent an update for a task.

    Attributes:
        call: what the control plane signed when it asked for the update: its method, path, time and nonce.
        answer: what the device signed: the digest of the update, and the signature of that call.
        signature: the signature of `answer`, base64 between colons. The key that made it is in `answer`.
    """

    call: str
    answer: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """One client's part in one round: it trains, or it evaluates the new model. Bytes are those of bodies on the link.

    Attributes:
        kind: what its task is. A client may take part once in each way.
        attempts: how often the task was sent to the client.
        finished_at: when the status became final, unix seconds.
        seconds: from the first hand-over to the end.
        update: SHA-256 of the update's file, while it is received.
        update_norm: the norm of the update's difference to the round's base model; see `tcsfeel.aggregation.norms`.
        metrics: what the client measured besides the loss, by name: while it trained, or of the new model.
        traceback: the last lines of the traceback of an exception in its trainer, as its agent sent them.
        num_steps: how many local steps it says that it took; None if it does not say.
        digest: SHA-256 of the update as its agent sent it, also after the file has been removed.
        evidence: the signatures of that update, if the client's device has a key.
        weight: its share of the mean, 0..1; None if nothing but its examples decides it, or if it is not received.
        relay: the client whose agent brought its update, in a mean with others; None if it came from its own agent.
            The file and the norm of such a mean are those of the relay.
        begun_in: the round in which its task began, if the task was carried from that round; None otherwise.
        base_model: SHA-256 of the model that the task began with, of such a task; None if it is the round's base model.
        staleness: how many model versions lie between that model and the round's base model.
        carried_to: the round that its task went on into, of a carried one; None while that has not been planned.
        sent_before: the bytes that the client was sent for such a task in earlier rounds.
        local_epochs: how many local epochs its task asks for, of those of the training; None if it is all of them.
        asked_steps: how many local steps its task asked for, if its client handed over a part of them; None otherwise.
    """

    client_id: str
    kind: TaskKind = "fit"
    status: ParticipationStatus = "pending"
    attempts: int = 0
    reason: str | None = None
    num_examples: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float | None = None
    score: float = 0.0
    components: Mapping[str, float] = field(default_factory=dict)
    finished_at: float | None = None
    update: str | None = None
    update_norm: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    traceback: str | None = None
    num_steps: int | None = None
    digest: str | None = None
    evidence: Evidence | None = None
    weight: float | None = None
    relay: str | None = None
    begun_in: int | None = None
    base_model: str | None = None
    staleness: int = 0
    carried_to: int | None = None
    sent_before: int = 0
    local_epochs: int | None = None
    asked_steps: int | None = None

    @property
    def share(self) -> float:
        """The share, in (0, 1], of the local steps that its client took of those that its task asked for."""
        return 1.0 if self.asked_steps is None else (self.num_steps or self.asked_steps) / self.asked_steps

    def shown(self) -> "Participation":
        """Return the participation with its reason as it is stored and shown, since parts of it come from agents."""
        return self if self.reason is None else replace(self, reason=plain(self.reason, LONGEST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One cycle of selection, training, aggregation and evaluation. Times are in unix seconds, costs in s of link time.

    Attributes:
        goal_value: what was measured of the goal's metric, on held-out data.
        metrics: what was measured of the new model on held-out data, by name of the metric, the loss included.
        training_metrics: what clients measured on their own data while they trained, the same way.
        hyperparameters: the values with which it began; None if it began before they were kept.
        deadline_seconds: the same of the longest that it may take.
        update_encoding: the same of the encoding that its agents are offered for updates.
        waiting_since: since when it has waited for clients that can be selected; waiting moves its deadline.
        waited_seconds: the time that was given back to it so far, for such waits and for problems of the server.
        step_failures: how often its current step has ended with an unexpected error.
        takeovers: how often its current step was taken over from an owner that had died or stalled.
        population: how many clients its training could select sooner or later, when it was planned.
        weighting: what the weights of its updates go by, in words; None if its rule does not store weights.
        participations: the parts of the clients that were selected to train.
        evaluations: the parts of the clients that were asked to evaluate the new model.
    """

    training_id: str
    number: int
    status: RoundStatus
    seed: int
    started_at: float
    deadline_at: float
    ended_at: float | None = None
    connectivity_version: int | None = None
    plan: Plan | None = None
    goal: int | None = None
    base_model: str | None = None
    model: str | None = None
    average_accuracy: float | None = None
    average_loss: float | None = None
    goal_value: float | None = None
    metrics: Mapping[str, Summary] = field(default_factory=dict)
    training_metrics: Mapping[str, Summary] = field(default_factory=dict)
    target_doubt: TargetDoubt | None = None
    communication_cost: float | None = None
    communication_bytes: int = 0
    convergence_speed: float | None = None
    fairness: float | None = None
    label_divergence: float | None = None
    failure_reason: str | None = None
    hyperparameters: Mapping[str, Scalar] | None = None
    deadline_seconds: float | None = None
    update_encoding: EncodingName | None = None
    waiting_since: float | None = None
    waited_seconds: float = 0.0
    step_failures: int = 0
    takeovers: int = 0
    population: int | None = None
    weighting: str | None = None
    participations: tuple[Participation, ...] = ()
    evaluations: tuple[Participation, ...] = ()

    @property
    def selected_clients(self) -> tuple[str, ...]:
        return tuple(participation.client_id for participation in self.participations)

    @property
    def parts(self) -> tuple[Participation, ...]:
        """The participations and the evaluations."""
        return self.participations + self.evaluations


def next_round(training: Training, now: float) -> tuple[Training, Round]:
    """Begin the next round. Returns the training and the round, whose seed follows from the training's seed."""
    number = training.current_round + 1
    config = training.config.in_round(number)
    round_ = Round(
        training_id=training.id,
        number=number,
        status="selecting",
        seed=int(np.random.SeedSequence([training.config.seed, number]).generate_state(1)[0]),
        started_at=now,
        deadline_at=now + config.round_policy.deadline_seconds,
        hyperparameters=config.hyperparameters,
        deadline_seconds=config.round_policy.deadline_seconds,
        update_encoding=config.uploads.encoding,
    )
    return replace(training, current_round=number, updated_at=now), round_


def of_round(config: TrainingConfig, round_: Round) -> TrainingConfig:
    """Return a training's configuration with the values with which a round began; users may have changed it since."""
    config = config.in_round(round_.number)
    if round_.update_encoding is not None:
        config = replace(config, uploads=replace(config.uploads, encoding=round_.update_encoding))
    if round_.hyperparameters is None or round_.deadline_seconds is None:  # it began before rounds kept them
        return config
    policy = replace(config.round_policy, deadline_seconds=round_.deadline_seconds)
    return replace(config, hyperparameters=round_.hyperparameters, round_policy=policy)


EVALUATION_SHARE = 0.2
MAX_EVALUATION_SECONDS = 30.0


def evaluation_seconds(policy: RoundPolicy) -> float:
    """Return how much of a round's time is reserved for evaluation, so that the whole round ends by its deadline."""
    return min(EVALUATION_SHARE * policy.deadline_seconds, MAX_EVALUATION_SECONDS)


def goal_count(selected: int, policy: RoundPolicy) -> int:
    """Return how many updates of `selected` clients are enough."""
    return max(1, round(selected / policy.over_selection))


def quorum_count(selected: int, policy: RoundPolicy) -> int:
    """Return the number of updates below which a round is abandoned; at most the goal."""
    return min(goal_count(selected, policy), max(1, math.ceil(policy.quorum * selected - 1e-9)))


def newly_selected(round_: Round) -> list[str]:
    """Return the clients that were selected for a round, without those whose tasks were carried into it."""
    return [part.client_id for part in round_.participations if part.begun_in in {None, round_.number}]


def quorum_of(round_: Round, policy: RoundPolicy) -> int:
    """Return the number of updates below which a planned round is abandoned.

    It goes by the clients that were selected for the round. Carried tasks count only if there are no others: their
    clients may never answer, and a round has to be able to do without them.
    """
    return quorum_count(len(newly_selected(round_)) or len(round_.participations), policy)


def too_few_updates(participations: Sequence[Participation], quorum: int) -> str:
    """Explain why a round below its quorum is abandoned: how many updates arrived, and why the others did not."""
    received = sum(part.status == "received" for part in participations)
    missing = [
        (part.client_id, part.reason or "it has not answered") for part in participations if part.status != "received"
    ]
    return f"{received} of {len(participations)} updates came in, the quorum is {quorum}; {listed(missing)}"


def convergence_speed(
    goal: Goal, measured: float | None, ended_at: float, before: float | None, ended_before: float | None
) -> float | None:
    """Return the improvement of the goal's metric per second since the previous round; None without a comparison."""
    if measured is None or before is None or ended_before is None or ended_at <= ended_before:
        return None
    return goal.gain(measured, before) / (ended_at - ended_before)
