"""Bodies of requests, bounded before anything parses them.

A body's bound follows from what it is for: `RequestModel` has a small one, and models that need more say so. A bound
counts bytes, and what a parser would make an object of; the second is told from the bytes without parsing them.
`app.memory` bounds what all requests of a server hold together.
"""

import asyncio
import mmap
from typing import Annotated

from fastapi import Header, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.memory import Held
from tcsfeel.inbound import Pace

JSON = "application/json"
PAUSE_SECONDS = 30.0
LEAST_RATE = 65_536.0  # bytes per second of what holds memory that others may need

ContentType = Annotated[str, Header(include_in_schema=False)]


class UnsupportedMediaType(Exception):
    """The body's media type is not one that the operation accepts."""

    def __init__(self, *accepted: str) -> None:
        super().__init__(f"should be {' or '.join(accepted)}")


class TooSlow(Exception):
    """A body arrives more slowly than its pace allows."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(f"the body arrives too slowly: it {pace}")


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
