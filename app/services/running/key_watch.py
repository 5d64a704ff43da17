"""Keep what a process knows about API keys up to date."""

import asyncio
from contextlib import suppress

from app.services.access.callers import QUESTION_SECONDS, Callers
from app.store.outages import Outage

CLOSE_SECONDS = 2.0


class KeyWatch:
    """The loop that asks for changed keys and writes when keys were last used. There is one in each process."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._outage = Outage()

    async def run(self) -> None:
        """Tick until cancelled. A tick that fails is logged and the loop goes on."""
        while True:
            await self._outage.outlast(self.tick, "changes of API keys could not be read")
            await asyncio.sleep(QUESTION_SECONDS)

    async def tick(self) -> None:
        """Ask for changes, and write what is to be written."""
        await self._callers.refresh()
        await self._callers.write()

    async def close(self) -> None:
        """Write what is left, once `run` is cancelled, and end calls of others. What cannot be written now is lost."""
        await self._callers.close()
        with suppress(TimeoutError), self._outage.tolerated():
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._callers.write()
