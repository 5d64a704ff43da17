"""Conditional and partial ``GET`` requests (RFC 9110): ``If-None-Match`` and ``Range``."""

import os
import re
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.http.catalog import RangeNotSatisfiable

IfNoneMatch = Annotated[
    str, Header(max_length=1024, description="An `ETag` that you have; the answer is 304 as long as it is the newest")
]

_PART = re.compile(r"[ \t]*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))[ \t]*")


def is_current(if_none_match: str, etag: str) -> bool:
    """Tell whether ``If-None-Match`` names the current version."""
    known = [entry.strip().removeprefix("W/") for entry in if_none_match.split(",")]
    return etag in known or known == ["*"]


class PartOfFile(FileResponse):
    """A response with a file of `size` bytes, or the parts of it that ``Range`` asks for.

    Raises `RangeNotSatisfiable` before the response begins.
    """

    def __init__(self, path: str | os.PathLike[str], *, size: int = 0, **kwargs: Any) -> None:
        super().__init__(path, **kwargs)
        self._size = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        unit, _, wanted = headers.get("Range", "").partition("=")
        if unit != "bytes" or headers.get("If-Range", self.headers["ETag"]) != self.headers["ETag"]:
            # A range that is not understood, or that is about another version, is ignored.
            scope = {**scope, "headers": [entry for entry in scope["headers"] if entry[0] != b"range"]}
        elif not all(_is_part(part, self._size) for part in wanted.split(",")):
            raise RangeNotSatisfiable(self._size)
        await super().__call__(scope, receive, send)


def _is_part(text: str, size: int) -> bool:
    """Tell whether one range is well-formed and begins within `size` bytes."""
    part = _PART.fullmatch(text)
    if part is None:
        return False
    first, last, suffix = part.groups()
    if suffix is not None:
        return int(suffix) > 0
    return int(first) < size and (last is None or int(last) >= int(first))
