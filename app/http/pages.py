"""Lists in pages. A cursor is the encoded key of the last item; callers pass it back unread."""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Query

from app.store.reading import Part
from tcsfeel.contract.fields import ID_PATTERN
from tcsfeel.contract.pages import Page
from tcsfeel.errors import Invalid

Item = TypeVar("Item")
Stored = TypeVar("Stored")
Key = tuple[str | float, ...]

Limit = Annotated[
    int,
    Query(ge=1, le=1000, description="Most items on a page. A page of long items ends earlier and has a `next_cursor`"),
]
Cursor = Annotated[str | None, Query(max_length=512, description="The `next_cursor` of the previous page")]


def page_of(found: Part[Stored], show: Callable[[Stored], Item], key: Callable[[Stored], Key]) -> Page[Item]:
    """Make a page of the items that were found, with a cursor if there are more."""
    cursor = encode_cursor(*key(found.items[-1])) if found.more else None
    return Page(items=[show(value) for value in found.items], next_cursor=cursor)


def encode_cursor(*key: str | float) -> str:
    """Encode a key as text that needs no escaping in a URL."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Decode a key that `encode_cursor` encoded. Raises `Invalid` for any other text."""
    if cursor is None:
        return None
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    shaped = isinstance(key, list) and len(key) == len(kinds)
    if not shaped or not all(type(part) is kind and _FITS[kind](part) for part, kind in zip(key, kinds, strict=True)):
        raise Invalid("/query/cursor", "is not a cursor of this list: leave it out to get the first page")
    return tuple(key)


_FITS: Mapping[type, Callable[[Any], bool]] = {
    str: lambda name: re.fullmatch(ID_PATTERN, name) is not None,
    int: lambda number: 0 <= number < 2**31,
    float: math.isfinite,
}
