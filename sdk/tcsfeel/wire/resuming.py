"""The headers of transfers that are resumed: uploads by offset, and downloads by range.

Uploads have the form of the IETF's draft for resumable uploads (draft-ietf-httpbis-resumable-upload-12, July 2026):
``HEAD`` tells how much has arrived, and ``PATCH`` appends to it. Downloads are requests for ranges (RFC 9110).
"""

import re
from collections.abc import Sequence
from itertools import accumulate

UPLOAD_OFFSET = "Upload-Offset"
UPLOAD_COMPLETE = "Upload-Complete"
UPLOAD_LIMIT = "Upload-Limit"
PARTIAL_UPLOAD = "application/partial-upload"
"""The media type of a ``PATCH`` that appends."""
YES, NO = "?1", "?0"  # booleans of structured fields (RFC 9651)

_NUMBER = re.compile(r"[0-9]{1,15}")
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,128}"')


def read_offset(value: str) -> int | None:
    """Read a value of ``Upload-Offset``; None if it is not a number of bytes."""
    return int(value) if _NUMBER.fullmatch(value) else None


def read_content_range(value: str) -> tuple[int, int, int] | None:
    """Read a value of ``Content-Range``: the first byte, the last one, and the size of the whole."""
    found = _RANGE.fullmatch(value.strip())
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def strong_etag(value: str) -> str:
    """Return an ``ETag`` by which a transfer can be resumed; an empty text if it is weak, or none."""
    return value.strip() if _STRONG.fullmatch(value.strip()) else ""


def part_of(pieces: Sequence[bytes | memoryview], begins: int, size: int) -> list[memoryview]:
    """Return `size` bytes of the concatenation of `pieces`, from `begins` on, without copying them."""
    starts = accumulate(map(len, pieces), initial=0)
    cut = (
        memoryview(piece)[max(0, begins - start) : max(0, begins + size - start)]
        for piece, start in zip(pieces, starts, strict=False)
    )
    return [piece for piece in cut if piece]
