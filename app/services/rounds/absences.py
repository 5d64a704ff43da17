"""Find clients that cannot be reached, because an outage is not the fault of a training.

A task can fail in many ways when its agent is away: no connection, no answer, an answer that breaks off. So the server
does not judge by the way in which the task failed, but asks the client once more whether it is there.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import structlog

from app.clock import Clock
from app.domain.clients import Client
from app.domain.events.clients import ClientSuspect
from app.domain.lateness import gave_nothing, lost_to_absence
from app.domain.rounds import Participation
from app.services.tasks.channels import Channel
from app.store.database import Database

SAMPLE = 50  # the most clients that are asked
ANSWER_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Absences:
    """Asks clients whether they are there. Those that do not answer are not selected until they answer again."""

    def __init__(self, db: Database, caller: Channel, clock: Clock) -> None:
        self._db = db
        self._caller = caller
        self._clock = clock

    async def find(self, clients: Sequence[Client]) -> list[Client]:
        """Return those of some clients that do not answer now. They become `suspect`, and are probed."""
        there = await asyncio.gather(*(self._answers(client) for client in clients))
        away = [client for client, answers in zip(clients, there, strict=True) if not answers]
        async with self._db.begin() as tx:
            for client in await tx.clients.lock([client.id for client in away]):
                if client.status == "healthy":
                    await tx.clients.put(replace(client, status="suspect"))
                    await tx.events.append(ClientSuspect(client_id=client.id, was=client.status))
                    log.info("client", client=client.id, status="suspect", was=client.status)
        return away

    async def explain(self, parts: Collection[Participation], quorum: int) -> bool:
        """Tell whether a round would have had its quorum of updates, had all of its clients been there."""
        async with self._db.read() as tx:
            missing = await tx.clients.some(gave_nothing(parts))
        asked = missing[:SAMPLE]
        if not asked:
            return False
        away = await self.find(asked)
        return lost_to_absence(parts, quorum, missing=len(missing), away=len(away) / len(asked))

    async def _answers(self, client: Client) -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return (await self._caller.health(client.endpoint)).alive
        except TimeoutError:
            return False
