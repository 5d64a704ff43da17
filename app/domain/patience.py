"""How long a round may take: the time that it is given back, and when it is given up.

A round that waits for clients, or that a problem of the server holds up, gets the time back that it has lost, so that
its clients have as long as before. Both are limited, so that no round goes on for ever.
"""

from dataclasses import replace

from app.domain.instants import lies_ahead
from app.domain.rounds import Round
from app.domain.trainings import RoundPolicy

MAX_STEP_FAILURES = 3
MAX_TAKEOVERS = 10  # of one step: servers may well be killed often, but hardly each time within the same step
SHORTEST_LIMIT_SECONDS = 60.0  # a training that does not wait for clients still outlasts a restart of the database


def waited(round_: Round, now: float) -> float:
    """Return how many seconds a round has waited in all, including a wait that is still going on."""
    return round_.waited_seconds + (0.0 if round_.waiting_since is None else max(0.0, now - round_.waiting_since))


def after_waiting(round_: Round, now: float) -> Round:
    """Return the round with its clock running again: its deadline has moved by the time that it waited."""
    if round_.waiting_since is None:
        return round_
    seconds = max(0.0, now - round_.waiting_since)
    return replace(
        round_,
        deadline_at=round_.deadline_at + seconds,
        waited_seconds=round_.waited_seconds + seconds,
        waiting_since=None,
    )


def prolonged(round_: Round, seconds: float, *, ours: bool = False) -> Round:
    """Return the round with the time that it stood still; `ours` is time that it may only have a bounded sum of.

    A pause does not count as a wait. A problem on the server while the round waits is part of that wait.
    """
    if seconds <= 0 or (ours and round_.waiting_since is not None):
        return round_
    return replace(
        round_,
        deadline_at=round_.deadline_at + seconds,
        waiting_since=None if round_.waiting_since is None else round_.waiting_since + seconds,
        waited_seconds=round_.waited_seconds + (seconds if ours else 0.0),
    )


def believed(round_: Round, longest: float, now: float) -> Round:
    """Limit the deadline of a round to `longest` seconds from now, in case the clock was set back."""
    latest = now + longest
    if not lies_ahead(round_.deadline_at, latest) and not lies_ahead(round_.waiting_since, now):
        return round_
    waiting = None if round_.waiting_since is None else min(round_.waiting_since, now)
    return replace(round_, deadline_at=min(round_.deadline_at, latest), waiting_since=waiting)


def hopeless(policy: RoundPolicy, round_: Round, reason: str, lost: float) -> str | None:
    """Explain why a round that met a problem of the server is given up; None if it may be tried again.

    Args:
        policy: of its training.
        round_: as it is stored, with the failures and the time that it was given back.
        reason: the problem.
        lost: seconds that the round has lost by the problem and has not got back yet.
    """
    if round_.step_failures >= MAX_STEP_FAILURES:
        return f"the server failed {round_.step_failures} times while the round was {round_.status}: {reason}"
    seconds = round_.waited_seconds + lost
    if seconds >= max(policy.max_wait_seconds, SHORTEST_LIMIT_SECONDS):
        return f"the round made no progress for {seconds:.0f} s while it was {round_.status}: {reason}"
    return None


def kills_its_owners(round_: Round) -> bool:
    """Tell whether so many owners of a round crashed or hung within one step that the round may be the cause."""
    return round_.takeovers >= MAX_TAKEOVERS
