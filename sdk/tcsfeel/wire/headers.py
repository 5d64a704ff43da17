"""Write and read the header of a parameter file, which describes its tensors.

The sender of a header may be hostile, so the length of each part is checked before the part is parsed. The header is
read one tensor at a time, and each name and each description has its own limit. So a list that is nested a million
times is refused at its first bytes, and no single step holds Python's lock for long.
"""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tcsfeel.wire.bfloat16 import BFLOAT16, MISSING
from tcsfeel.wire.errors import MalformedParameters, quoted

LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 1 << 22  # of any file: 256 bytes for each tensor
MAX_TENSORS = 1 << 14
MAX_NAME = 256  # characters of a tensor's name, or of a metadata entry's
MAX_VALUE_BYTES = 1 << 20  # of a metadata entry
MAX_DIMENSIONS = 64  # numpy's bound
MAX_SIDE = 2**48  # the sides of an empty tensor may be longer than memory allows, up to this

DTYPES: Mapping[str, np.dtype[Any]] = {
    **({} if BFLOAT16 is None else {"BF16": BFLOAT16}),
    **{
        name: np.dtype(code)
        for name, code in {
            "F64": "<f8", "F32": "<f4", "F16": "<f2",
            "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
            "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1",
            "BOOL": "?",
        }.items()
    },
}  # fmt: skip

_METADATA = "__metadata__"
_NAME_BYTES = 12 * MAX_NAME + 2  # a character takes at most two escapes of six bytes
_DESCRIPTION_BYTES = 1 << 13  # 64 sides of 15 digits, each on an indented line of its own
_SPACE_BYTES = 1 << 10  # between two things of a header
_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_DESCRIPTION = re.compile(rb"\{[^{}]*+\}")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a layout: the name of its dtype, its shape, and where it begins and ends in the block (bytes)."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


Layout = Mapping[str, TensorSpec]


def header(layout: Layout, metadata: Mapping[str, str] | None = None) -> bytes:
    """Make the header of a file whose block has this layout."""
    return header_with(entries_of(layout), metadata)


def entries_of(layout: Layout) -> bytes:
    """Return the part of a header that describes the tensors, without the braces around it."""
    entries = {
        name: {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": (spec.start, spec.stop)}
        for name, spec in layout.items()
    }
    return _written(entries)[1:-1]


def header_with(entries: bytes, metadata: Mapping[str, str] | None = None) -> bytes:
    """Make a header from its `entries_of` a layout."""
    parts = [b'"%s":%s' % (_METADATA.encode(), _written(metadata))] if metadata else []
    if entries:
        parts.append(entries)
    text = b"{%s}" % b",".join(parts)
    text += b" " * (-len(text) % 8)
    return LENGTH.pack(len(text)) + text


def _written(value: Mapping[str, object]) -> bytes:
    return json.dumps(dict(value), separators=(",", ":")).encode()


def check_beginning(beginning: bytes) -> None:
    """Check the first eight bytes of a file, so that a file that will be refused need not be received to its end.

    Raises `MalformedParameters` if they announce a header that is too long.
    """
    (length,) = LENGTH.unpack_from(beginning)
    if length > MAX_HEADER_BYTES:
        raise MalformedParameters(f"the header claims {length} bytes, at most {MAX_HEADER_BYTES} are read")


def check_length(length: int, allowed: int) -> None:
    """Raise `MalformedParameters` where a header is longer than is allowed."""
    if length > allowed:
        raise MalformedParameters(f"the header has {length} bytes, at most {allowed} are allowed here")


def parse_header(text: memoryview, expected: tuple[bytes, Layout] | None = None) -> tuple[Layout, dict[str, str]]:
    """Read the tensors and the metadata that a header's JSON names.

    `expected` are the `entries_of` a layout and the layout, which is returned if exactly these entries follow the
    metadata. So they need not be parsed again.

    Raises:
        MalformedParameters: the header breaks the format.
    """
    reader = _Reader(text)
    layout: dict[str, TensorSpec] = {}
    metadata: dict[str, str] | None = None
    for name in reader.names():
        if name in layout or (name == _METADATA and metadata is not None):
            raise MalformedParameters(f"the header names {quoted(name)} twice")
        if name == _METADATA:
            metadata = reader.metadata()
            if expected is not None and not layout and reader.is_followed_by(b",%s}" % expected[0]):
                return expected[1], metadata
            continue
        if len(layout) == MAX_TENSORS:
            raise MalformedParameters(f"the header names more than {MAX_TENSORS} tensors")
        layout[name] = _parse_spec(name, reader.description(name))
    reader.finish()
    return layout, metadata or {}


class _Reader:
    """Reads a header part by part, and never reads further than the limit of a part."""

    def __init__(self, text: memoryview) -> None:
        self._text = text
        self._at = 0

    def names(self) -> Iterable[str]:
        """Yield the keys of an object. The caller has to read the value of each key before it asks for the next."""
        self._expect(b"{", "is not a JSON object")
        if self._skip(b"}"):
            return
        while True:
            yield self._string(_NAME_BYTES, MAX_NAME, "a name")
            if self._skip(b"}"):
                return
            self._expect(b",")

    def metadata(self) -> dict[str, str]:
        """Read the value of ``__metadata__``."""
        self._expect(b":")
        found: dict[str, str] = {}
        if self._peek() != b"{":
            raise MalformedParameters(f"{_METADATA} must map strings to strings")
        for name in self.names():
            self._expect(b":")
            if name in found:
                raise MalformedParameters(f"the header names {quoted(name)} twice")
            if self._peek() != b'"':
                raise MalformedParameters(f"{_METADATA} must map strings to strings")
            found[name] = self._string(MAX_VALUE_BYTES, MAX_VALUE_BYTES, f"the metadata entry {quoted(name)}")
        return found

    def description(self, name: str) -> object:
        """Read the description of a tensor."""
        self._expect(b":")
        self._peek()
        match = _DESCRIPTION.match(self._text, self._at, min(len(self._text), self._at + _DESCRIPTION_BYTES))
        if match is None:
            raise MalformedParameters(
                f"tensor {quoted(name)} needs exactly dtype, shape and data_offsets, in one object of at most"
                f" {_DESCRIPTION_BYTES} bytes"
            )
        self._at = match.end()
        return _parsed(match[0])

    def is_followed_by(self, rest: bytes) -> bool:
        """Tell whether `rest` follows, and nothing but spaces after it."""
        end = self._at + len(rest)
        return self._text[self._at : end] == rest and not bytes(self._text[end:]).strip(b" ")

    def finish(self) -> None:
        """Make sure that nothing but spaces follows."""
        if bytes(self._text[self._at :]).strip(b" \t\n\r"):
            raise MalformedParameters(f"the header is not JSON: more text follows its end at byte {self._at}")

    def _string(self, most_bytes: int, most: int, what: str) -> str:
        """Read a string of at most `most` characters, which `most_bytes` hold whatever is escaped."""
        self._peek()
        match = _STRING.match(self._text, self._at, min(len(self._text), self._at + most_bytes))
        if match is None:
            raise MalformedParameters(
                f"the header is not JSON, or a text in it is too long: {what} of at most {most} characters, with its"
                f" closing quote, is missing at byte {self._at}"
            )
        self._at = match.end()
        text = _parsed(match[0])
        if not isinstance(text, str) or len(text) > most:
            raise MalformedParameters(f"{what} in the header has more than {most} characters")
        if not _is_text(text):
            raise MalformedParameters(f"{what} in the header holds half of a surrogate pair: {quoted(text)}")
        return text

    def _expect(self, mark: bytes, otherwise: str = "is not JSON") -> None:
        if not self._skip(mark):
            raise MalformedParameters(f"the header {otherwise}: {mark.decode()!r} is missing at byte {self._at}")

    def _skip(self, mark: bytes) -> bool:
        """Step over `mark`, if it comes next."""
        found = self._peek() == mark
        self._at += found
        return found

    def _peek(self) -> bytes:
        """Give the next byte that is no space."""
        space = _SPACE.match(self._text, self._at, min(len(self._text), self._at + _SPACE_BYTES))
        if space is not None:
            self._at = space.end()
        return bytes(self._text[self._at : self._at + 1])


def _parsed(text: bytes) -> object:
    try:
        return _JSON.decode(str(text, "utf-8"))
    except MalformedParameters:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedParameters(f"the header is not JSON: {error}") from error


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise MalformedParameters(f"the header names {quoted(name)} twice")
        entries[name] = value
    return entries


def _no_constant(name: str) -> None:
    raise MalformedParameters(f"the header holds {name}")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIDE


def _is_shape(value: object) -> bool:
    """Sides whose product numpy can hold, also where an empty side makes it zero."""
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS or not all(_is_size(side) for side in value):
        return False
    elements: int = prod(side for side in value if side)
    return elements <= MAX_SIDE


def _parse_spec(name: str, entry: object) -> TensorSpec:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise MalformedParameters(f"tensor {quoted(name)} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype == "BF16" and BFLOAT16 is None:
        raise MalformedParameters(f"tensor {quoted(name)} is of bfloat16: {MISSING}")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise MalformedParameters(f"tensor {quoted(name)} has the unknown dtype {quoted(str(dtype))}")
    if not _is_shape(shape):
        raise MalformedParameters(f"tensor {quoted(name)} has a broken shape")
    if not isinstance(offsets, list) or len(offsets) != len(("start", "stop")) or not all(map(_is_size, offsets)):
        raise MalformedParameters(f"tensor {quoted(name)} has broken data_offsets")
    if offsets[1] - offsets[0] != prod(shape) * DTYPES[dtype].itemsize:
        raise MalformedParameters(f"tensor {quoted(name)} does not fill its data_offsets")
    return TensorSpec(dtype, tuple(shape), offsets[0], offsets[1])
