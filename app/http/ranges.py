"""Read which part of a body a request asks for (RFC 9110): ``Range``, ``If-Range`` and ``If-Match``."""

import re

from app.http.catalog import ForeignVersion, RangeNotSatisfiable

_ONE = re.compile(r"bytes=(?:([0-9]{1,15})-([0-9]{1,15})?|-([0-9]{1,15}))")


def wanted_part(size: int, etag: str, *, wanted: str, if_range: str, if_match: str) -> tuple[int, int] | None:
    """Return the first byte that is asked for and the one after the last; None if the whole body of `size` bytes is.

    A range in another form, or of another version than `etag`, is ignored, as are several ranges.

    Raises:
        RangeNotSatisfiable: the body has none of the bytes.
        ForeignVersion: `if_match` names other versions.
    """
    if if_match and if_match.strip() != "*" and etag not in (entry.strip() for entry in if_match.split(",")):
        raise ForeignVersion(etag)
    found = _ONE.fullmatch(wanted.strip())
    if found is None or if_range.strip() not in {"", etag}:
        return None
    first, last, suffix = found.groups()
    begins = size - min(size, int(suffix)) if suffix else int(first)
    ends = min(size, int(last) + 1) if last else size
    if begins >= ends:
        raise RangeNotSatisfiable(size)
    return begins, ends
