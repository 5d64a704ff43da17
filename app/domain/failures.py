"""The failures of clients: a client could not be reached, or what it said was wrong.

Both are counted for each client, and have different consequences. A client that cannot be reached, or whose updates are
wrong, is kept away from rounds by its breaker. A client whose evaluations are wrong goes on training, because its
updates are good: it is only not asked to evaluate for a while, after several wrong evaluations in a row.
"""

from dataclasses import dataclass, replace
from typing import Literal

from tcsfeel.text import plain

FailurePhase = Literal["fit", "evaluate", "initial model"]
FailureKind = Literal["unreachable", "faulty"]

SHOWN = 200  # characters of a failure's reason
WRONG_EVALUATIONS = 3  # in a row, after which a client is not asked to evaluate for a while
FIRST_REST_SECONDS = 30.0
LONGEST_REST_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One call that failed: in which phase of which round, why, and when (unix seconds).

    Attributes:
        kind: "unreachable" if the agent could not be reached or did not answer; "faulty" if it answered, but its
            trainer failed or its answer was wrong.
    """

    phase: FailurePhase
    reason: str
    training_id: str | None = None
    round: int | None = None
    at: float = 0.0
    kind: FailureKind = "faulty"

    def __str__(self) -> str:
        return f"{self.phase}: {self.reason}"

    def shown(self, now: float) -> "Failure":
        """Return the failure with its instant, and with a reason that is short enough to be kept."""
        return replace(self, at=now, reason=plain(self.reason, SHOWN))

    @property
    def shuts_out(self) -> bool:
        """Whether it counts for the breaker, which keeps the client away from rounds."""
        return (self.phase, self.kind) != ("evaluate", "faulty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """How often a client has failed since it was registered, by kind, and the last failure of each kind.

    Attributes:
        wrong_evaluations: how many evaluations in a row were wrong, each of them counted once, when it ended.
    """

    unreachable: int = 0
    faulty: int = 0
    last_unreachable: Failure | None = None
    last_faulty: Failure | None = None
    wrong_evaluations: int = 0

    def counted(self, failure: Failure) -> "Failures":
        """Return the failures with one more, which has its instant."""
        if failure.kind == "unreachable":
            return replace(self, unreachable=self.unreachable + 1, last_unreachable=failure)
        return replace(self, faulty=self.faulty + 1, last_faulty=failure)

    def evaluated_wrongly(self) -> "Failures":
        """Return the failures after an evaluation that has ended without a right answer, in however many tries."""
        return replace(self, wrong_evaluations=self.wrong_evaluations + 1)

    def evaluated(self) -> "Failures":
        """Return the failures after an evaluation that was right."""
        return replace(self, wrong_evaluations=0) if self.wrong_evaluations else self

    def evaluates_again_at(self) -> float | None:
        """Return when the client may be asked to evaluate again, in unix seconds; None if it may be asked at once."""
        if self.wrong_evaluations < WRONG_EVALUATIONS or self.last_faulty is None:
            return None
        doublings = min(self.wrong_evaluations - WRONG_EVALUATIONS, 32)
        return self.last_faulty.at + min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2.0**doublings)
