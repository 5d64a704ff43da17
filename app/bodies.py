"""Bodies of requests, bounded before anything parses them.

A body's bound follows from what it is for: `RequestModel` has a small one, and models that need more say so. A bound
counts bytes, and what a parser would make an object of; the second is told from the bytes without parsing them.
`Room` bounds what all requests of a server hold together.
"""

import asyncio
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Header, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.sharing import Portions
from tcsfeel.inbound import Pace

JSON = "application/json"
SMALL_BYTES = 1_000_000  # of a body, such as a client's or a training's, that comes out of the reserve
RESERVE_BYTES = 32_000_000
UNCOUNTED_BYTES = 16_384  # at the beginning of each body
PAUSE_SECONDS = 30.0
LEAST_RATE = 65_536.0  # bytes per second of what holds memory that others may need
STREAMED_BYTES = 1 << 20  # of a body that its handler streams to a file: what is in memory at a time
UPLOADS_BYTES = 64 * STREAMED_BYTES
LONG_ANSWERS_BYTES = 256_000_000

ContentType = Annotated[str, Header(include_in_schema=False)]


class UnsupportedMediaType(Exception):
    """The body's media type is not one that the operation accepts."""

    def __init__(self, *accepted: str) -> None:
        super().__init__(f"should be {' or '.join(accepted)}")


class TooSlow(Exception):
    """A body arrives more slowly than its pace allows."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(f"the body arrives too slowly: it {pace}")


class NoRoom(Exception):
    """Other requests use too much of the memory that there is for bodies, or for long answers."""

    def __init__(self, size: int, what: str) -> None:
        super().__init__(f"other requests are using too much of the {size} bytes of memory for {what}")


class Room:
    """The memory that bodies hold together, shared by the addresses that they come from.

    Small bodies have a reserve that no large one can take. The beginning of a body does not count: connections have
    places, which bound what all beginnings hold. So a short body, such as a heartbeat's, always has room.
    """

    def __init__(self, size: int) -> None:
        self._large = (size, Portions.of_alone(size))
        self._small = (RESERVE_BYTES, Portions.of_alone(RESERVE_BYTES))

    @contextmanager
    def holding(self, address: str, most: int) -> Iterator["Held"]:
        """A share for one request, whose body has at most `most` bytes. It is given back at the request's end."""
        held = Held(*(self._small if most <= SMALL_BYTES else self._large), address)
        try:
            yield held
        finally:
            held.give_back()


class AnswerRoom:
    """The memory that long answers hold until their callers have taken them in, shared by the callers' addresses.

    An answer is made before its size is known. So every address may have one, whatever its size, and others as long as
    there is room.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._portions = Portions.of_alone(size)

    @contextmanager
    def holding(self, address: str, size: int) -> Iterator[None]:
        """Count an answer until the block ends. Raises `NoRoom`."""
        if self._portions.held(address) and not self._portions.may_take(address, size):
            raise NoRoom(self._size, "long answers: ask for fewer at a time (limit), or try again in a moment")
        self._portions.take(address, size)
        try:
            yield
        finally:
            self._portions.give_back(address, size)


class Held:
    """What one request holds."""

    def __init__(self, size: int, portions: Portions, address: str) -> None:
        self._size = size
        self._portions = portions
        self._address = address
        self._received = self._counted = 0

    def grow(self, size: int) -> None:
        """Raises `NoRoom`."""
        more = max(0, self._received + size - UNCOUNTED_BYTES) - self._counted
        if more and not self._portions.may_take(self._address, more):
            raise NoRoom(self._size, "bodies: try again in a moment")
        self._portions.take(self._address, more)
        self._received += size
        self._counted += more

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._portions.give_back(self._address, self._counted)
        self._received = self._counted = 0


def announced(request: Request) -> int | None:
    """The length that a request's head gives its body; None where it gives none, as for a body in chunks."""
    length = request.headers.get("Content-Length", "")
    return int(length[:20]) if length.isdecimal() else None


def bounded(request: Request, limit: int, held: Held, pace: Pace) -> Request:
    """The same request, whose body is refused by its length, as announced or received (413), or as too slow (408)."""
    received, whole = 0, False

    async def receive() -> Message:
        nonlocal received, whole
        if (announced(request) or 0) > limit:
            raise too_large(limit)
        if whole:
            return await request.receive()
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(pace.left):
                message = await request.receive()
        except TimeoutError:
            raise TooSlow(pace) from None
        size = len(message.get("body", b""))
        pace.spend(asyncio.get_running_loop().time() - began, size)
        whole = not message.get("more_body", False)
        received += size
        if received > limit:
            raise too_large(limit)
        held.grow(size)
        return message

    return Request(request.scope, receive)


def too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body may have at most {limit} bytes")


def refuse_crowd(body: bytes, most_items: int) -> None:
    """Refuse a body that has more lists, objects and elements than its operation can use."""
    items = body.count(b",") + body.count(b"[") + body.count(b"{")
    if items > most_items:
        words = (
            f"Value should hold at most {most_items} lists, objects and elements, and has {items}: shorten its lists"
        )
        raise RequestValidationError([{"type": "too_long", "loc": ("body",), "msg": words}])


def require_json(content_type: str) -> None:
    """Raises `UnsupportedMediaType`."""
    if content_type.partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMediaType(JSON)


async def whole(request: Request, limit: int) -> memoryview:
    """A large body in one piece of memory, which takes no more than what came, and is never copied to grow."""
    limit = min(limit, request.state.most_bytes)
    if (announced(request) or 0) > limit:
        raise too_large(limit)
    space, size = mmap.mmap(-1, limit), 0
    async for chunk in request.stream():
        if size + len(chunk) > limit:
            raise too_large(limit)
        space[size : size + len(chunk)] = chunk
        size += len(chunk)
    return memoryview(space)[:size]
