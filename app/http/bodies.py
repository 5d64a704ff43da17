"""Limit the size of request bodies before anything parses them.

The limit depends on the purpose of the body: `RequestModel` has a small one, and models that need more say so. It
counts bytes, and the values of which a parser would make an object, which can be counted without parsing. `app.memory`
limits the memory of all requests of a server together.
"""

import asyncio
import mmap
from collections.abc import Collection
from typing import Annotated

from fastapi import Header, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.http.exchanges import has_arrived
from app.memory import Held
from tcsfeel.errors import Picklable
from tcsfeel.inbound import Pace
from tcsfeel.wire.errors import quoted

JSON = "application/json"
PAUSE_SECONDS = 30.0
LEAST_RATE = 65_536.0  # bytes per second of what holds memory that others may need

ContentType = Annotated[str, Header(include_in_schema=False)]


class UnsupportedMediaType(Picklable):
    """The body's media type is not one that the operation accepts."""

    def __init__(self, *accepted: str) -> None:
        super().__init__(f"should be {' or '.join(accepted)}")


class TooSlow(Picklable):
    """A body arrives more slowly than `pace` allows."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(f"the body arrives too slowly: it {pace}")


def refuse_encoding(request: Request, accepted: Collection[str] = ()) -> None:
    """Refuse a body that is said to be compressed, since nothing decompresses it, unless the coding is `accepted`."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", *accepted}:
        detail = f"bodies in Content-Encoding {quoted(encoding)} are not accepted: send the body without compression"
        raise HTTPException(415, detail, headers={"Accept-Encoding": "identity"})


def announced(request: Request) -> int | None:
    """Read the length of the body from the request's head; None if it is not there, as for a body in chunks."""
    length = request.headers.get("Content-Length", "")
    return int(length[:20]) if length.isdecimal() else None


def bounded(request: Request, limit: int, held: Held, pace: Pace) -> Request:
    """Return the request with a body that is refused once it is too long (413) or arrives too slowly (408)."""
    received, whole, arrived = 0, False, has_arrived(request.scope)
    longer = (announced(request) or 0) > limit

    async def receive() -> Message:
        nonlocal received, whole
        if longer:
            raise too_large(limit)
        if whole:
            return await request.receive()
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None if arrived else pace.left):
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
            f"Value should contain at most {most_items} lists, objects and elements, but has {items}: shorten its lists"
        )
        raise RequestValidationError([{"type": "too_long", "loc": ("body",), "msg": words}])


def require_json(content_type: str) -> None:
    """Raise `UnsupportedMediaType` unless the type is JSON."""
    if content_type.partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMediaType(JSON)


async def whole(request: Request, limit: int) -> memoryview:
    """Read a large body into one block of memory that uses only as much as has arrived, and grows without copying."""
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
