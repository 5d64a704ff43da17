"""When a round has enough answers: it uses those that it has, gives up, or waits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a round does next: use the answers that it has, give up, or wait until `until` (unix seconds)."""

    action: Literal["proceed", "abandon", "wait"]
    until: float = math.inf


def judge(
    *,
    now: float,
    arrivals: Sequence[float],
    outstanding: int,
    goal: int,
    quorum: int,
    deadline: float,
    grace_seconds: float,
    early: int | None = None,
) -> Verdict:
    """Decide whether a round has enough answers.

    Args:
        now: unix seconds.
        arrivals: when each usable answer came in, unix seconds.
        outstanding: how many may still come.
        goal: how many are enough at once.
        quorum: how many are enough at the deadline, or if no more can come.
        deadline: unix seconds.
        grace_seconds: how long the round waits for stragglers once it has enough for an early end.
        early: how many are enough for an early end, after the grace period; at least the quorum, which it is if None.
    """
    received, early = len(arrivals), max(quorum, early or 0)
    if received >= goal:
        return Verdict("proceed")
    if outstanding == 0 or now >= deadline:
        return Verdict("proceed" if received >= quorum else "abandon")
    if received < early:
        return Verdict("wait", deadline)
    patience_ends = min(deadline, sorted(arrivals)[early - 1] + grace_seconds)
    return Verdict("proceed") if now >= patience_ends else Verdict("wait", patience_ends)
