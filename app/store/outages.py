"""Tell operators about an outage of the database once, and not at every try until it is over."""

import math
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

from app.store.availability import DatabaseUnavailable
from app.store.database import in_a_line, is_outage

FRESH_SECONDS = 30.0  # an outage that nothing has met for so long may be over

log = structlog.get_logger(__name__)


def finding_of(error: BaseException) -> str:
    """Describe what is wrong with the database. Callers without a key may read it, so it has no path and no address."""
    if isinstance(error, DatabaseUnavailable):
        return error.finding
    cause = getattr(error, "orig", None)
    # SQLite's messages name the trouble of the file (a full disk, say), and never the file.
    return f"cannot be used: {cause}" if isinstance(cause, sqlite3.Error) else DatabaseUnavailable.finding


class Outage:
    """What a loop, or several of one service, knows of the database: whether it answers."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._last = -math.inf
        self._finding: str | None = None

    def meet(self, error: BaseException) -> None:
        """Record that a try failed."""
        self._finding, self._last = finding_of(error), time.monotonic()
        if self._since is None:
            self._since = time.monotonic()
            log.error("the database does not answer", reason=in_a_line(error))

    @property
    def finding(self) -> str | None:
        """Describe what is wrong with the database; None if it answers, or if there was no query lately."""
        return self._finding if time.monotonic() - self._last < FRESH_SECONDS else None

    @property
    def seconds(self) -> float:
        """How long the database has not answered; 0 where `finding` is None."""
        return 0.0 if self._since is None or self.finding is None else time.monotonic() - self._since

    @contextmanager
    def tolerated(self) -> Iterator[None]:
        """Run a block that may be skipped: an outage only ends the block; any other error is raised."""
        try:
            yield
        except Exception as error:
            if not is_outage(error):
                raise
            self.meet(error)

    async def outlast(self, tick: Callable[[], Awaitable[None]], otherwise: str) -> None:
        """One tick of a loop that goes on whatever happens; what is no outage is logged as `otherwise`."""
        try:
            await tick()
        except Exception as error:
            if is_outage(error):
                self.meet(error)
            else:
                log.exception(otherwise)
        else:
            self.end()

    def end(self) -> None:
        """Record that a try succeeded."""
        if self._since is not None:
            log.info("the database answers again", seconds=round(time.monotonic() - self._since, 1))
            self._since = self._finding = None
