"""Read the heads of HTTP/1.1 responses.

What RFC 9112 forbids is refused, and so is what it allows and no agent needs: line ends without a carriage return,
folded lines, several lengths, a length beside a transfer coding, and transfer codings other than ``chunked``. A test
compares the reader with h11: h11 reads whatever this module accepts in the same way.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

HEAD_BYTES = 1 << 15  # of a head, at most
MOST_HEADERS = 200
_MOST_DIGITS = 18  # of a length

_FIRST_FINAL = 200
_WITHOUT_BODY = frozenset({204, 304})
_SWITCHING_PROTOCOLS = 101

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]++):[ \t]*+([\t\x20-\x7e\x80-\xff]*)")
_START = b"HTTP/1."


class NotHttp(ValueError):
    """An agent sent something that is not a response of HTTP/1.1 as it has to be."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a response.

    Attributes:
        headers: their values by their names in lower case. Several with one name are joined by commas.
        length: the length of the body; None if it is chunked, or if it ends with the connection.
        keeps: whether the agent keeps the connection after this response.
    """

    status: int
    headers: Mapping[str, str]
    length: int | None
    chunked: bool
    keeps: bool

    @property
    def is_interim(self) -> bool:
        """Tell whether the response is followed by another one."""
        return self.status < _FIRST_FINAL


def begins_like_http(beginning: bytes) -> bool:
    """Tell whether a response may begin with these bytes."""
    return beginning[: len(_START)] == _START[: len(beginning)]


def read_fields(lines: list[bytes]) -> dict[str, str]:
    """Read the lines of headers or trailers. Raises `NotHttp`."""
    if len(lines) > MOST_HEADERS:
        raise NotHttp(f"more than {MOST_HEADERS} headers")
    fields: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise NotHttp("a line is not a header")
        name, value = match[1].decode("ascii").lower(), match[2].rstrip(b" \t").decode("latin-1")
        if name in fields:
            if name in {"content-length", "transfer-encoding"}:
                raise NotHttp(f"{name} comes twice")
            value = f"{fields[name]}, {value}"
        fields[name] = value
    return fields


def read_head(text: bytes) -> Head:
    """Read a head without the empty line at its end. Raises `NotHttp`."""
    first, *lines = text.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise NotHttp("the first line is not a status line")
    minor, status = int(match[1]), int(match[2])
    if status == _SWITCHING_PROTOCOLS:
        raise NotHttp("another protocol was not asked for")
    headers = read_fields(lines)
    length = _length(headers.get("content-length"))
    coding = headers.get("transfer-encoding")
    if coding is not None and (coding.lower() != "chunked" or length is not None or not minor):
        raise NotHttp(f"the body is framed in a way that is not supported: {coding[:32]!r}")
    if status in _WITHOUT_BODY:
        length, coding = 0, None
    options = {option.strip(" \t").lower() for option in headers.get("connection", "").split(",")}
    return Head(status, headers, length, coding is not None, minor == 1 and "close" not in options)


def _length(value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > _MOST_DIGITS:
        raise NotHttp(f"the length {value[:32]!r} is not a number that a body may have")
    return int(value)
