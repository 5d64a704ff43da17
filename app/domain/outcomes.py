"""What a round that has ended means for its training: it goes on, rests, or has come to its end."""

from dataclasses import dataclass, replace

from app.domain.progress import progressed
from app.domain.trainings import Ending, StopReason, Training, ended
from tcsfeel.wire.tasks import ACCURACY


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a training's newest round. `completed` counts the completed rounds, this one included.

    `accuracy`, and the `goal_value` of the training's own metric, were measured on held-out data; each is None if no
    client measured it. The value is `doubted` if it does not reach the target without the measurement of one client.
    `reason` says why the round was abandoned; it is None for a completed one. `outage` means that it would have reached
    its quorum if its agents had been reachable.
    """

    completed: int
    accuracy: float | None = None
    goal_value: float | None = None
    doubted: bool = False
    reason: str | None = None
    outage: bool = False


def ending(training: Training, outcome: Outcome, *, failed_in_row: int) -> Ending | None:
    """Decide whether a training ends with its current round; None means that it continues with the next round.

    A single round that a user asked for pauses the training, unless it reached the target.
    """
    config, goal = training.config, training.config.goal
    if goal.reached(outcome.goal_value) and not outcome.doubted:
        reached = f"round {training.current_round} measured {goal.metric} {outcome.goal_value:.6g}"
        stop: StopReason = "target_accuracy" if goal.metric == ACCURACY else "target"
        return Ending("complete", stop, f"{reached}; the target was {goal.shown_target}")
    if training.stop_after is not None:
        return Ending("rest", detail=outcome.reason)
    if failed_in_row >= config.round_policy.max_failed_rounds:
        return Ending("fail", "too_many_failed_rounds", outcome.reason)
    if goal.patience is not None and training.plateau_rounds >= goal.patience:
        detail = achieved(training, completed=outcome.completed, reason=outcome.reason)
        stood = f"{goal.metric} has not improved by more than {goal.min_delta:g} in {training.plateau_rounds} rounds"
        return Ending("complete", "no_improvement", f"{stood}; {detail}")
    if training.current_round >= config.max_rounds:
        detail = achieved(training, completed=outcome.completed, reason=outcome.reason)
        return Ending("complete" if outcome.completed else "fail", "max_rounds", detail)
    return None


def achieved(training: Training, *, completed: int, reason: str | None = None) -> str:
    """Describe what a training achieved in its rounds, of which this many `completed`.

    `reason` says why the last one was abandoned; it is None for a completed one.
    """
    rounds = f"{completed} of {training.current_round - training.begins_after} rounds completed"
    last = None if reason is None else f"the last was abandoned: {reason}"
    return "; ".join(part for part in (rounds, last, *(_measured(training) if completed else ())) if part is not None)


def _measured(training: Training) -> tuple[str, ...]:
    """What the rounds of a training measured, and what they were to reach."""
    goal, best = training.config.goal, training.best_value
    measured = f"no round measured {goal.metric}" if best is None else f"the best {goal.metric} was {best:.6g}"
    if best is not None and training.best_round is not None:
        measured += f" in round {training.best_round}"
    if goal.target is None:
        return (measured,)
    target = f"the target was {goal.shown_target}"
    if goal.reached(best):
        target += ", and was not reached without the measurement of one client"
    return measured, target


MAX_PAUSE_SECONDS = 30.0


def pause_after_failures(failed_in_row: int) -> float:
    """Seconds to wait before the next round after `failed_in_row` abandoned ones: 0, then 1, 2, 4, … at most 30."""
    doublings = min(failed_in_row - 1, 10)  # beyond the maximum long since, and never too large for a float
    return 0.0 if failed_in_row == 0 else min(MAX_PAUSE_SECONDS, 2.0**doublings)


def after_round(training: Training, outcome: Outcome, now: float) -> Training:
    """Return the training after its current round: it continues, is paused, or has ended.

    The training must be running. `now` is in unix seconds.
    """
    outage_since = (training.outage_since or now) if outcome.outage else None
    excused = outage_since is not None and now - outage_since < training.config.round_policy.max_wait_seconds
    failed = 0 if outcome.reason is None else training.failed_in_row + (not excused)
    reason = None if outcome.reason is None else f"round {training.current_round} was abandoned: {outcome.reason}"
    accuracies = [known for known in (training.best_accuracy, outcome.accuracy) if known is not None]
    training = replace(
        _with_value(training, outcome.goal_value),
        accuracy=training.accuracy if outcome.accuracy is None else outcome.accuracy,
        best_accuracy=max(accuracies, default=None),
        failed_in_row=failed,
        next_round_at=now + pause_after_failures(max(failed, 1) if excused else failed),
        updated_at=now,
        progress=progressed(training.progress, "waiting" if reason else "moving", reason, now),
        outage_since=outage_since,
    )
    end = ending(training, outcome, failed_in_row=failed)
    return training if end is None else ended(training, end, now)


def _with_value(training: Training, measured: float | None) -> Training:
    """Give the training with what its current round measured of the goal's metric."""
    if measured is None:
        return training
    goal, before, best = training.config.goal, training.plateau_value, training.best_value
    improved = before is None or goal.gain(measured, before) > goal.min_delta
    is_best = best is None or goal.gain(measured, best) > 0.0
    return replace(
        training,
        goal_value=measured,
        best_value=measured if is_best else best,
        best_round=training.current_round if is_best else training.best_round,
        plateau_value=measured if improved else before,
        plateau_rounds=0 if improved else training.plateau_rounds + 1,
    )
