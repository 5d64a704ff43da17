"""When a failed attempt is tried again, and how long to wait before."""

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
