"""Places in which long answers are made.

What an answer is made of takes several times the memory of its bytes, so only a few are made at the same time.
`AnswerRoom` counts what they hold afterwards, while they are sent.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.sharing import Places, party

PLACES = 4
WAIT_SECONDS = 10.0


class TooManyAnswers(Exception):
    """Other long answers take all places for longer than a caller may wait."""

    def __init__(self, places: int, seconds: float) -> None:
        super().__init__(
            f"{places} long answers are being prepared, and none was finished within {seconds:g} s: "
            "ask for fewer at a time (limit), or try again in a moment"
        )


class AnswerPlaces:
    """The places, shared by the addresses of the callers."""

    def __init__(self, places: int = PLACES, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._number = places
        self._places = Places(places)
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def one(self, address: str) -> AsyncIterator[None]:
        """Hold one place inside. Raises `TooManyAnswers`."""
        with party(address):
            try:
                async with asyncio.timeout(self._wait_seconds):
                    holder = await self._places.take()
            except TimeoutError:
                raise TooManyAnswers(self._number, self._wait_seconds) from None
            try:
                yield
            finally:
                self._places.give_back(holder)
