"""Bodies of requests, bounded before anything parses them.

A body's bound follows from what it is for: `RequestModel` has a small one, and models that need more say so. A bound
counts bytes, and what a parser would make an object of; the second is told from the bytes without parsing them.
`Room` bounds what all requests of a server hold together.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Header, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message

JSON = "application/json"

ContentType = Annotated[str, Header(include_in_schema=False)]


class UnsupportedMediaType(Exception):
    """The body's media type is not one that the operation accepts."""

    def __init__(self, *accepted: str) -> None:
        super().__init__(f"should be {' or '.join(accepted)}")


class NoRoom(Exception):
    """The bodies that are being read hold all the memory that there is for them."""

    def __init__(self, size: int) -> None:
        super().__init__(f"other requests use all {size} bytes for bodies: try again in a moment")


class Room:
    """What all bodies together may hold."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0

    @contextmanager
    def holding(self) -> Iterator["Held"]:
        """A share for one request, given back at its end."""
        held = Held(self)
        try:
            yield held
        finally:
            self._taken -= held.size

    def take(self, size: int) -> None:
        """Raises `NoRoom`."""
        if self._taken + size > self._size:
            raise NoRoom(self._size)
        self._taken += size


class Held:
    """What one request holds."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size = 0

    def grow(self, size: int) -> None:
        """Raises `NoRoom`."""
        self._room.take(size)
        self.size += size


def bounded(request: Request, limit: int, held: Held) -> Request:
    """The same request, whose body is refused with 413 by its announced length, or as it comes in."""
    announced = request.headers.get("Content-Length", "")
    received = 0

    async def receive() -> Message:
        nonlocal received
        if announced.isdecimal() and int(announced[:20]) > limit:
            raise too_large(limit)
        message = await request.receive()
        size = len(message.get("body", b""))
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
    announced = request.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise too_large(limit)
    space, size = mmap.mmap(-1, limit), 0
    async for chunk in request.stream():
        if size + len(chunk) > limit:
            raise too_large(limit)
        space[size : size + len(chunk)] = chunk
        size += len(chunk)
    return memoryview(space)[:size]
