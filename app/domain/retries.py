"""Decide when to repeat a failed call of an agent, or failed work of the server, and how long to wait first."""

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


FIRST_BUSY_PAUSE = 1.0
LONGEST_BUSY_PAUSE = 30.0


def busy_pause(times: int, asked: float = 0.0) -> float:
    """Return the seconds to wait for an agent that was busy `times` in a row: 1, 2, 4, … at most 30.

    They double because each try may send the model again. An agent that `asked` for more seconds gets them.
    """
    return max(asked, min(LONGEST_BUSY_PAUSE, FIRST_BUSY_PAUSE * 2.0 ** min(times - 1, 10)))


FIRST_SETBACK_PAUSE = 0.2
LONGEST_SETBACK_PAUSE = 2.0
CALM_SECONDS = 5.0


@dataclass(slots=True)
class Setbacks:
    """Consecutive failures of the server, such as a full disk: how long to wait, and how much time they cost.

    A round gets back the time from the first failure to the begin of the last try. The time of a try in between is also
    lost, unless that try reached the round and lasted so long that it must have made progress.
    """

    in_a_row: int = 0
    since: float = 0.0
    began: float = 0.0
    in_the_round: bool = False

    def begin(self, now: float) -> float:
        """Begin a try. Returns the seconds that the round has lost, which the try has to give back."""
        self.began, self.in_the_round = now, False
        return max(0.0, now - self.since) if self.in_a_row else 0.0

    def give_back(self) -> None:
        """Note that the try has given the lost time back to the round."""
        self.since, self.in_the_round = self.began, True

    def fail(self, now: float) -> float:
        """Note that the try failed. Returns the seconds to wait before the next: 0.2, 0.4, 0.8, 1.6, and then 2."""
        if self.in_a_row == 0 or (self.in_the_round and now - self.began > CALM_SECONDS):
            self.in_a_row, self.since = 0, now
        self.in_a_row += 1
        return min(LONGEST_SETBACK_PAUSE, FIRST_SETBACK_PAUSE * 2.0 ** min(self.in_a_row - 1, 10))

    def end(self) -> None:
        """Note that the try succeeded."""
        self.in_a_row = 0
