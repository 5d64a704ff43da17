"""The memory that requests share: for their bodies, and for long answers.

Each caller gets a fair portion (`app.sharing`): callers who send or read slowly leave memory for others.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from app.sharing import Places, Portions, party
from tcsfeel.errors import Picklable

SMALL_BYTES = 1_000_000  # of a body, such as a client's or a training's, that uses the reserve
RESERVE_BYTES = 32_000_000
UNCOUNTED_BYTES = 16_384  # at the beginning of each body
STREAMED_BYTES = 1 << 20  # in memory at one time, of a body that its handler streams to a file
UPLOADS = 64  # of them at the same time
UPLOADS_BYTES = UPLOADS * STREAMED_BYTES
LONG_ANSWERS_BYTES = 256_000_000
PLACES = 4
WAIT_SECONDS = 10.0


class NoMemoryFree(Picklable):
    """Other requests use too much of the memory for bodies, or for long answers."""

    def __init__(self, size: int, what: str) -> None:
        super().__init__(f"other requests are using too much of the {size} bytes of memory for {what}")


class TooManyUploads(NoMemoryFree):
    """Other uploads take all places of a server, in each of which a body is streamed to a file."""

    def __init__(self, places: int) -> None:
        Picklable.__init__(
            self,
            f"{places} uploads are on their way to this server, which takes no more at a time: "
            "send this one again after the seconds that Retry-After names",
        )


class TooManyAnswers(Picklable):
    """Other long answers take all places for longer than a caller waits."""

    def __init__(self, places: int, seconds: float) -> None:
        super().__init__(
            f"{places} long answers are being prepared, and none was finished within {seconds:g} s: "
            "ask for fewer items at a time (limit), or try again in a moment"
        )


class BodyMemory:
    """The memory for all bodies together. Callers share it.

    Small bodies have a reserve that large bodies cannot use. The beginning of a body does not count, because the number
    of connections limits how much memory all beginnings take. So there is always memory for a short body, such as a
    heartbeat's.
    """

    def __init__(self, size: int) -> None:
        self._large = (size, Portions.of_alone(size))
        self._small = (RESERVE_BYTES, Portions.of_alone(RESERVE_BYTES))

    @contextmanager
    def holding(self, caller: str, most: int) -> Iterator["Held"]:
        """Hold a share for one request, whose body has at most `most` bytes, until the block ends."""
        held = Held(*(self._small if most <= SMALL_BYTES else self._large), caller)
        try:
            yield held
        finally:
            held.give_back()


class Held:
    """The memory that one request holds."""

    def __init__(self, size: int, portions: Portions, caller: str) -> None:
        self._size = size
        self._portions = portions
        self._caller = caller
        self._received = self._counted = 0

    def announce(self, size: int) -> None:
        """Refuse a body whose `size` bytes do not fit now, before any of them is read. Raises `NoMemoryFree`."""
        self._more(size)

    def grow(self, size: int) -> None:
        """Count `size` more bytes. Raises `NoMemoryFree`."""
        more = self._more(size)
        self._portions.take(self._caller, more)
        self._received += size
        self._counted += more

    def _more(self, size: int) -> int:
        """Return how much more is counted after `size` more bytes. Raises `NoMemoryFree`."""
        more = max(0, self._received + size - UNCOUNTED_BYTES) - self._counted
        if more and not self._portions.may_take(self._caller, more):
            raise NoMemoryFree(self._size, "bodies: try again in a moment")
        return more

    def give_back(self) -> None:
        """Give all of it back."""
        self._portions.give_back(self._caller, self._counted)
        self._received = self._counted = 0


class AnswerMemory:
    """The memory for long answers until the callers have read them. Callers share it.

    The size of an answer is known only after it is made. So every caller may have one of any size, and more as long as
    there is memory.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._portions = Portions.of_alone(size)

    @contextmanager
    def holding(self, caller: str, size: int) -> Iterator[None]:
        """Count an answer until the block ends. Raises `NoMemoryFree`."""
        if self._portions.held(caller) and not self._portions.may_take(caller, size):
            raise NoMemoryFree(
                self._size, "long answers: ask for fewer items at a time (limit), or try again in a moment"
            )
        self._portions.take(caller, size)
        try:
            yield
        finally:
            self._portions.give_back(caller, size)


class AnswerPlaces:
    """The places in which long answers are made. Callers share them.

    While an answer is made, it takes several times the memory of its bytes, so only a few are made at the same time.
    `AnswerMemory` counts their memory afterwards, while they are sent.
    """

    def __init__(self, places: int = PLACES, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._number = places
        self._places = Places(places)
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def one(self, caller: str) -> AsyncIterator[None]:
        """Hold one place while the block runs. Raises `TooManyAnswers`."""
        with party(caller):
            try:
                async with asyncio.timeout(self._wait_seconds):
                    holder = await self._places.take()
            except TimeoutError:
                raise TooManyAnswers(self._number, self._wait_seconds) from None
            try:
                yield
            finally:
                self._places.give_back(holder)
