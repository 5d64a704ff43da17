"""Write long responses in a thread, piece by piece, since writing all at once would hold the interpreter."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from app.http.bodies import LEAST_RATE
from app.http.deps import party_of, wired
from app.memory import SMALL_BYTES
from app.threads import Purpose, in_thread
from tcsfeel.inbound import hurry

PIECE = 1000  # elements of a list or an object that are written at once if they are not models


class LongAnswer(Response):
    """A response that counts against the memory for long responses, if it is one, until the caller has received it.

    Raises `NoMemoryFree` before it begins.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, request = len(self.body), Request(scope)
        if size <= SMALL_BYTES:
            await super().__call__(scope, receive, send)
            return
        with wired(request).answer_memory.holding(party_of(request), size):
            hurry(scope, LEAST_RATE)
            await super().__call__(scope, receive, send)


async def written(make: Callable[[], BaseModel]) -> Response:
    """Call `make` and write its result, in a thread."""
    return LongAnswer(await in_thread("messages", lambda: b"".join(_parts(make()))), media_type="application/json")


async def streamed(purpose: Purpose, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the parts of a response that is too long to hold.

    Each is made in a thread when the caller is ready for it.
    """
    while (part := await in_thread(purpose, next, parts, None)) is not None:
        yield part


def _parts(value: Any) -> Iterator[bytes]:
    """Write a value as JSON, in parts that each take little time."""
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        if any(isinstance(field, list | dict | BaseModel) for field in fields.values()):
            yield from _object(fields)
            return
    elif isinstance(value, Mapping) and len(value) > PIECE:
        yield from _cut(value.items(), b"{", b"}", dict)
        return
    elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
        for number, element in enumerate(value):
            yield b"," if number else b"["
            yield from _parts(element)
        yield b"]"
        return
    elif isinstance(value, list) and len(value) > PIECE:
        yield from _cut(value, b"[", b"]", list)
        return
    yield to_json(value)


def _object(fields: Mapping[str, Any]) -> Iterator[bytes]:
    for number, (name, field) in enumerate(fields.items()):
        yield b'%b"%b":' % (b"," if number else b"{", name.encode())
        yield from _parts(field)
    yield b"}"


def _cut(elements: Any, opening: bytes, closing: bytes, kind: Callable[[Any], Any]) -> Iterator[bytes]:
    """Write the elements of a list or an object, some at a time, without the brackets of each part."""
    rest, mark = iter(elements), opening
    while part := kind(islice(rest, PIECE)):
        yield mark + to_json(part)[1:-1]
        mark = b","
    yield closing
