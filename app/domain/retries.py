"""When a failed attempt is tried again, and how long to wait before: an agent's, and our own."""

import math
import random
from dataclasses import dataclass

MAX_TRIES = 3
BUDGET_SHARE = 0.2
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0


@dataclass(slots=True)
class RetryBudget:
    """How many second and third tries one phase of a round may spend in all: a fifth of its first tries, rounded up.

    Without it an outage would triple the traffic at the worst moment. The one mutable value here: it counts down while
    the phase's tasks run, and starts again after a restart.
    """

    left: int

    @classmethod
    def of(cls, first_tries: int) -> "RetryBudget":
        return cls(math.ceil(BUDGET_SHARE * first_tries - 1e-9))

    def spend(self, tries: int) -> bool:
        """Take one retry for a task that had `tries` tries, if the task and the phase have one left."""
        if tries >= MAX_TRIES or self.left <= 0:
            return False
        self.left -= 1
        return True


def pause(tries: int, rng: random.Random) -> float:
    """Seconds before the next try, after `tries`: exponential with full jitter (0 up to 0.5, 1, 2, … at most 10)."""
    return rng.uniform(0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tries - 1)))


FIRST_SETBACK_PAUSE = 0.2
LONGEST_SETBACK_PAUSE = 2.0
CALM_SECONDS = 5.0


@dataclass(slots=True)
class Setbacks:
    """Troubles of ours in a row, a database that restarts or a disk that is full: how long to wait, and what they cost.

    What a round is to get back is the time from the first failure to the begin of the last try. A try in between is
    lost as well, unless it got into the round and lasted so long there that it must have got somewhere.
    """

    in_a_row: int = 0
    since: float = 0.0
    began: float = 0.0
    in_the_round: bool = False

    def begin(self, now: float) -> float:
        """A try begins; the seconds that the round has lost and that the try is to give back."""
        self.began, self.in_the_round = now, False
        return max(0.0, now - self.since) if self.in_a_row else 0.0

    def give_back(self) -> None:
        """The try has come into the round, with the time that was lost."""
        self.since, self.in_the_round = self.began, True

    def fail(self, now: float) -> float:
        """The try came to grief; seconds to wait before the next: 0.2, 0.4, 0.8, 1.6, and then 2."""
        if self.in_a_row == 0 or (self.in_the_round and now - self.began > CALM_SECONDS):
            self.in_a_row, self.since = 0, now
        self.in_a_row += 1
        return min(LONGEST_SETBACK_PAUSE, FIRST_SETBACK_PAUSE * 2.0 ** min(self.in_a_row - 1, 10))

    def end(self) -> None:
        """The try came through."""
        self.in_a_row = 0
