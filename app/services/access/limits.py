"""Limit how often each caller calls, over all servers together, and how many of its calls one server answers at once.

Rules:

- A call is counted in memory, without a statement of the database.
- Once a second, a server writes how often those callers call that use a tenth of their limit or more, and reads how
  often they call other servers. Each server then allows its part of the limit (`app.domain.rates.share`).
- While nobody uses a tenth of a limit, a server writes and reads nothing. If the database does not answer, the parts
  stay as they are.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import structlog

from app.domain.errors import LimitReached
from app.domain.rates import share, used_up_after, wait
from app.settings import LimitSettings
from app.store.database import Database, in_a_line, is_outage

PERIOD = 1.0
NOTABLE = 0.1  # of its limit: callers that call less often are not shared between servers
MOST_SHARED = 1000

log = structlog.get_logger(__name__)

KindOfCaller = Literal["key", "agent", "address"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose calls are counted together: a key of a person or a program, a device's key, or an address without a key."""

    kind: KindOfCaller
    name: str


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The limits of one kind of callers, with the names of their settings."""

    of: str
    rate: tuple[str, float]
    concurrent: tuple[str, int]


class CallerLimits:
    """The limits of one process. `clock` is monotonic."""

    def __init__(
        self, db: Database, settings: LimitSettings, *, server: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        at_once = ("concurrent_requests", settings.concurrent_requests)
        few_at_once = ("agent_concurrent_requests", settings.agent_concurrent_requests)
        self._bounds = {
            "key": _Bounds("this key", ("requests_per_second", settings.requests_per_second), at_once),
            "agent": _Bounds(
                "this device", ("agent_requests_per_second", settings.agent_requests_per_second), few_at_once
            ),
            "address": _Bounds(
                "this address", ("address_requests_per_second", settings.address_requests_per_second), at_once
            ),
        }
        self._db = db
        self._server = server
        self._clock = clock
        self._used_up: dict[Caller, float] = {}
        self._open: Counter[Caller] = Counter()
        self._shares: dict[Caller, float] = {}
        self._counted: Counter[Caller] = Counter()
        self._counted_since = clock()
        self._published = False

    @contextmanager
    def admitted(self, caller: Caller) -> Iterator[None]:
        """Count a call of a caller until the block ends. Raises `LimitReached`."""
        bounds = self._bounds[caller.kind]
        self._count(caller, bounds)
        limit, most = bounds.concurrent
        if self._open[caller] >= most:
            raise LimitReached(
                limit,
                f"{bounds.of} has sent more than {most} calls that this server has not answered yet",
                retry_after=1,
            )
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def _count(self, caller: Caller, bounds: _Bounds) -> None:
        now = self._clock()
        limit, rate = bounds.rate
        self._counted[caller] += 1
        used_up = used_up_after(self._used_up.get(caller, 0.0), now, self._shares.get(caller, rate))
        if (seconds := wait(used_up, now)) > 0:
            raise LimitReached(limit, f"{bounds.of} has sent more calls than {rate:g} a second", retry_after=seconds)
        self._used_up[caller] = used_up

    async def run(self) -> None:
        """Share the rates with other servers once a second until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self.share()
            except Exception as error:
                if not is_outage(error):
                    log.exception("request rates could not be shared")
                else:
                    log.debug("request rates could not be shared", reason=in_a_line(error))

    async def share(self) -> None:
        """Write how often callers called since the last time, and read how often they called other servers."""
        now = self._clock()
        counted, seconds = self._counted, max(now - self._counted_since, 1e-3)
        self._counted, self._counted_since = Counter(), now
        self._used_up = {caller: used_up for caller, used_up in self._used_up.items() if used_up > now}
        rates = {caller: count / seconds for caller, count in counted.most_common(MOST_SHARED)}
        rates = {caller: rate for caller, rate in rates.items() if rate >= NOTABLE * self._rate(caller)}
        if not rates and not self._published:
            self._shares = {}
            return
        names = {caller: f"{caller.kind} {caller.name}" for caller in rates}
        async with self._db.begin() as tx:
            await tx.request_rates.publish(self._server, {names[caller]: rate for caller, rate in rates.items()})
            elsewhere = await tx.request_rates.elsewhere(self._server, list(names.values()))
        self._published = bool(rates)
        self._shares = {
            caller: share(self._rate(caller), rate, elsewhere[names[caller]])
            for caller, rate in rates.items()
            if names[caller] in elsewhere
        }

    def _rate(self, caller: Caller) -> float:
        return self._bounds[caller.kind].rate[1]
