"""Steps of the database's clock, which rounds must not take for time that passed.

Set forward, the clock ends all leases and deadlines at once. The coordinators see the step as it happens: they claim
the trainings again and move the deadlines of open rounds along. A step while no server runs looks like passing time.
"""

import time

import structlog

from app.store.leases import Lease

log = structlog.get_logger(__name__)

STEP_SECONDS = 1.0
"""A difference to the database's clock from which on it was set, and does not just go at another speed."""


class Steps:
    """What one coordinator has seen. Rounds that are claimed within a lease's time after a step are moved along."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._begun = False
        self._forward = 0.0
        self._seen_at = 0.0
        self._moved: dict[str, float] = {}

    def notice(self, difference: float) -> bool:
        """Note how far the database's clock is ahead of this process's clock. Returns whether it was set.

        The first difference is that of the two machines.
        """
        was_set = self._begun and abs(difference) > STEP_SECONDS
        self._begun = True
        if was_set:
            log.warning("the clock of the database was changed", seconds=round(difference, 1))
            self._forward, self._seen_at = max(0.0, difference), time.monotonic()
            self._moved.clear()
        return was_set

    def owed(self, lease: Lease) -> float:
        """By how many seconds the open round of a training that was just claimed is to move, once after each step."""
        recent = time.monotonic() - self._seen_at < 2 * self._lease_seconds
        if not self._forward or not recent or lease.training_id in self._moved:
            return 0.0
        self._moved[lease.training_id] = self._forward
        return self._forward
