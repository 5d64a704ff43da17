"""Let addresses prove soon after their registration that they belong to the devices of their clients.

The health prober asks every unproven address, but only twice in an interval. A device that has just enrolled, or has
moved, should be able to train at once. This handles the registrations that came to this process. The prober of a
coordinator that runs elsewhere asks the others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from app.clock import Clock
from app.domain.clients import Client
from app.store.outages import Outage

MOST = 10_000  # that are remembered: the prober finds the others
PAUSE_SECONDS = 0.2  # in which registrations that come together are collected


class Newcomers:
    """The clients whose addresses were registered just now and have not been proved."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids: set[str] = set()
        self._news = asyncio.Event()
        self._outage = Outage()

    def notice(self, clients: Iterable[Client]) -> None:
        """Remember those of some clients that have to prove their addresses."""
        unproven = [client.id for client in clients if client.has_to_prove]
        if unproven and len(self._ids) < MOST:
            self._ids.update(unproven)
            self._news.set()

    async def run(self, prove: Callable[[list[str]], Awaitable[None]]) -> None:
        """Give the ids of those that were noticed to `prove`, until cancelled."""
        while True:
            await self._news.wait()
            await self._clock.sleep(PAUSE_SECONDS)
            self._news.clear()
            ids, self._ids = sorted(self._ids), set()
            await self._outage.outlast(lambda: prove(ids), "addresses could not prove whose they are")  # noqa: B023  (it is awaited here)
