"""The owner of a training: a control plane whose services a test calls itself, with the lease of one round."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from app.composition import build
from app.domain.rounds import ParticipationStatus, Round
from app.services.system import System
from app.store.leases import Lease
from tests.clocks import FakeClock, Sleeping
from tests.planes import settings
from tests.services.network import Network
from tests.services.rounds.stored import begun
from tests.store.samples import NOW

Reply = tuple[int, bytes] | Exception


class Agents:
    """Agents on hosts with the names of their clients. Each answers as `replies` says, and is healthy if it answers.

    `calls` has the calls in their order, each as the method, the host and the path.
    """

    def __init__(self, replies: Mapping[str, Reply]) -> None:
        self.replies = dict(replies)
        self.calls: list[tuple[str, str, str]] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        name = request.url.host
        self.calls.append((request.method, name, request.url.path))
        reply = self.replies[name]
        if isinstance(reply, Exception):
            raise reply
        status, body = (200, b"") if request.url.path == "/healthz" else reply
        return httpx2.Response(status, stream=httpx2.ByteStream(body))


@dataclass(frozen=True)
class Owner:
    """A process that owns a training, with its round as it is stored. No sleep on its clock takes any time."""

    system: System
    lease: Lease
    round_: Round
    agents: Agents
    clock: FakeClock

    @property
    def engine(self) -> Any:
        return self.system.coordinator._engine

    async def stored(self) -> Round:
        async with self.system.db.read() as tx:
            return await tx.rounds.get(self.round_.training_id, self.round_.number)

    async def failures(self, client_id: str) -> list[str]:
        """The failures that the breaker of a client has counted."""
        return [failure.reason for failure in (await self.system.breakers.get(client_id)).last_failures]


@asynccontextmanager
async def owner(
    directory: Path,
    database_url: str,
    parts: Mapping[str, ParticipationStatus],
    replies: Mapping[str, Reply] | None = None,
    **fields: Any,
) -> AsyncIterator[Owner]:
    """The owner of a training with one round; `fields` are those of `begun`."""
    agents, clock = Agents(replies or {}), FakeClock(NOW, sleeping=Sleeping.SKIPS)
    system = build(settings(directory, database_url), clock, Network(httpx2.MockTransport(agents)))
    try:
        round_ = await begun(system.db, parts, **fields)
        async with system.db.begin() as tx:
            claim = await tx.leases.claim("owner", 600.0)
        assert claim is not None
        yield Owner(system, claim.lease, round_, agents, clock)
    finally:
        await system.caller.close()
        await system.disconnect()
