"""Clients whose answers a round does not wait for any longer: which of them are to blame, and how their parts end."""

from collections.abc import Collection
from dataclasses import replace

from app.domain.clients import Client
from app.domain.rounds import OUTSTANDING, Participation
from app.domain.tasks import TaskRun

LATE = "it did not finish in time: the round continued without it"
NOT_CALLED = "the client was never contacted: the server had no free slot"
NOT_ASKED = "the server had not asked for its answer yet when the round continued"
MOVING_SECONDS = 60.0  # since bytes were last seen to move, within which a transfer counts as one that moves
FAIR_CHANCE = 0.5  # of the time since its task should have been sent, during which an agent had it


def excuse(run: TaskRun, now: float, relay: str | None = None) -> str | None:
    """Explain why a client is not to blame for an answer that is missing at `now`, in unix seconds; None if it is.

    `relay` is the client that was to relay its update, if there is one.
    """
    if run.asked_at is None and relay is not None:
        return f"its relay {relay!r} had not answered when the round continued"
    if run.asked_at is None or run.started_at is None:
        # Where nothing is known of the task, an earlier owner may have handed it over.
        return NOT_ASKED if run.asked_at is None or run.resumed else NOT_CALLED
    if run.answered:
        return "the server did not check its answer in time"
    if run.moved_at is not None and now - run.moved_at <= MOVING_SECONDS:
        return "a transfer to or from it was still moving: its link is slow, or the time for the round is short"
    had, time = now - run.started_at, now - run.asked_at
    if had < FAIR_CHANCE * time:
        return f"the server had no free slot for long: of {time:.3g} s, the client had the task for only {had:.3g} s"
    return None


def skipped(part: Participation, run: TaskRun, reason: str, now: float) -> Participation:
    """Give a participation that the round does not wait for any longer, with what its task has cost so far."""
    seconds = run.seconds(now)
    return replace(run.charged(part), status="skipped", reason=reason, seconds=seconds, finished_at=now)


def missed(client: Client, *, late: bool) -> Client:
    """Give a client after its task was called off: its breaker gets the permit back. A `late` one is less reliable."""
    return replace(client.observed(reliability=0.0 if late else None), breaker=client.breaker.release())


def gave_nothing(parts: Collection[Participation]) -> list[str]:
    """Return the clients of a round without an update, apart from those that sent one or were excused."""
    return [part.client_id for part in parts if part.status in {"failed", *OUTSTANDING}]


def lost_to_absence(parts: Collection[Participation], quorum: int, *, missing: int, away: float) -> bool:
    """Tell whether a round would have had its quorum of updates if all of its clients had been there.

    Args:
        parts: the clients' parts in the round.
        quorum: how many updates it needs.
        missing: how many clients `gave_nothing` and are still registered.
        away: the share of these that cannot be reached, from 0 to 1.
    """
    received = sum(part.status == "received" for part in parts)
    return received + missing * away >= quorum
