"""Read the API all the time while a harness breaks the servers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.store.database import Database, is_outage
from tests.harnesses.history import History

LOOK_SECONDS = 0.02
PATIENCE = 120.0

Key = tuple[str, int, str]


class Observer:
    """Reads the newest rounds of a training all the time, also in outages, and remembers the received updates."""

    def __init__(self, url: str, training_id: str) -> None:
        self._db = Database(url, pool_size=1)
        self._training_id = training_id
        self.acknowledged: dict[Key, str | None] = {}
        self.statuses: frozenset[str] = frozenset()
        self.last_event = 0
        self.taken_back: list[str] = []

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self.look()
                except (SQLAlchemyError, OSError) as error:
                    if not is_outage(error):
                        raise
                    self.statuses = frozenset()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._db.dispose()

    async def look(self) -> None:
        async with self._db.read() as tx:
            last = (await tx.rounds.page(self._training_id, limit=2, before=None)).items
            while events := (await tx.events.after(self.last_event, training_id=self._training_id, limit=1000)).items:
                self.last_event = events[-1].id
        for value in last:
            for part in value.participations:
                key = (value.training_id, value.number, part.client_id)
                if part.status == "received" and part.update is not None:
                    known = self.acknowledged.setdefault(key, part.update)
                    if known != part.update:
                        self.taken_back.append(f"{key}: {known} became {part.update}")
                elif key in self.acknowledged:
                    self.taken_back.append(f"{key}: was received, is {part.status}")
        newest = last[0].participations if last else ()
        self.statuses = frozenset(part.status for part in newest)

    async def mid_round(self) -> None:
        """Wait until some updates of the open round have been received, and others have not."""
        await until(lambda: {"training", "received"} <= self.statuses)

    async def step_after(self, event: int) -> None:
        """Wait until the training has taken another step."""
        await until(lambda: self.last_event > event)

    def lost(self, history: History) -> list[str]:
        """List updates that were shown as received once, and that are missing or different now."""
        stored = {
            (round_.training_id, round_.number, part.client_id): part.update
            for story in history.stories.values()
            for round_ in story.rounds.values()
            for part in round_.participations
            if part.status == "received"
        }
        return [
            f"update {key} was acknowledged, and is lost"
            for key, sha in self.acknowledged.items()
            if stored.get(key) != sha
        ]


@asynccontextmanager
async def observed(url: str, training_id: str) -> AsyncIterator[Observer]:
    """Observe a training in the block."""
    observer = Observer(url, training_id)
    looking = asyncio.create_task(observer.run())
    try:
        yield observer
    finally:
        looking.cancel()
        await asyncio.wait([looking])
    if not looking.cancelled():
        looking.result()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (what it looks at is filled by a loop of its own)
            await asyncio.sleep(LOOK_SECONDS)
