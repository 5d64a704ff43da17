"""Lists in pages. A cursor is the key of the last item, opaque to its bearer."""

import base64
import binascii
import json
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import Field

from app.domain.errors import Invalid
from app.schemas.fields import ResponseModel

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=1000, description="How many items at most")]
Cursor = Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before")]


class Page(ResponseModel, Generic[Item]):
    """Some items, and where the next ones begin."""

    items: list[Item]
    next_cursor: Annotated[str | None, Field(description="Pass it as `cursor` for the next page; null at the end")]


def encode_cursor(*key: str | float) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """The key that `encode_cursor` took. Raises `Invalid` for anything that it did not make."""
    if cursor is None:
        return None
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    shaped = isinstance(key, list) and len(key) == len(kinds)
    if not shaped or not all(type(part) is kind for part, kind in zip(key, kinds, strict=True)) or "\0" in str(key[-1]):
        raise Invalid("/query/cursor", "is not a cursor of this list; leave it out for the first page")
    return tuple(key)
