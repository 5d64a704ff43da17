"""Read JSON objects with long lists in pieces.

A parser in C holds the interpreter until it has finished. For a body of tens of megabytes that takes seconds, in which
the event loop waits, even if the parser runs in another thread. So a long body is cut between the elements of its
lists, without parsing them, into pieces that each take milliseconds to parse. A scan in short steps finds where to cut:
it counts brackets outside of strings, and it limits the length, the depth and the number of parts of each element.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

CUT = 65_536  # bytes after which a piece ends with the next element
ELEMENT_BYTES = 1_000_000
DEPTH = 8
PARTS = 20_000  # lists, objects and strings of a piece
SPACE = 65_536

_STRING = rb'"(?:[^"\\]|\\.)*+"'
_BETWEEN = re.compile(rb"[\[\]{},]|" + _STRING + rb'|"', re.DOTALL)
_INSIDE = re.compile(rb"[\[\]{}]|" + _STRING + rb'|"', re.DOTALL)
_KEY = re.compile(rb'"([a-z_]{1,64})"', re.DOTALL)
_SPACE = re.compile(rb"[ \t\n\r]{0,%d}+" % SPACE)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some elements of a list as a JSON list, starting with number `first`; or a whole value if `first` is None."""

    key: str
    first: int | None
    text: bytes


def validated(body: memoryview, kinds: Mapping[str, TypeAdapter[Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the members of an object with their keys, each list in validated pieces. Raises `RequestValidationError`.

    `kinds` has the type of each list. The caller has to check for required members that are missing.
    """
    for piece in pieces(body, lists=kinds):
        kind = kinds.get(piece.key)
        if kind is None:
            raise wrong("extra_forbidden", piece.key)
        try:
            yield piece.key, kind.validate_json(piece.text)
        except ValidationError as error:
            raise _placed(error, piece) from None


def pieces(body: memoryview, *, lists: Collection[str]) -> Iterator[Piece]:
    """Cut an object into pieces. Raises `RequestValidationError`."""
    scan = _Scan(body)
    scan.expect(b"{")
    seen: set[str] = set()
    if not scan.takes(b"}"):
        while True:
            key = scan.key()
            if key in seen:
                raise wrong("value_error", key, said="appears twice")
            seen.add(key)
            scan.expect(b":")
            if key in lists and scan.takes(b"["):
                yield from scan.elements(key)
            else:
                yield Piece(key, None, scan.value(key))
            if scan.takes(b"}"):
                break
            scan.expect(b",")
    scan.end()


class _Scan:
    """A position in a text, with methods to move on."""

    def __init__(self, text: memoryview) -> None:
        self._text = text
        self._at = 0

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = self._at if found is None else found.end()

    def takes(self, mark: bytes) -> bool:
        """Skip the mark if it comes next. Returns whether it did."""
        self._skip()
        here = bytes(self._text[self._at : self._at + 1]) == mark
        self._at += here
        return here

    def expect(self, mark: bytes) -> None:
        if not self.takes(mark):
            raise _no_json(f"expected `{mark.decode()}`", self._at)

    def key(self) -> str:
        self._skip()
        found = _KEY.match(self._text, self._at)
        if found is None:
            raise _no_json("expected the name of a field", self._at)
        self._at = found.end()
        return str(found[1], "ascii")

    def value(self, key: str) -> bytes:
        """Read a value that is not a list to be cut."""
        start = self._at
        end = next(_marks(self._text, start, key, None)).start
        self._at = end
        return bytes(self._text[start:end])

    def elements(self, key: str) -> Iterator[Piece]:
        """Yield the elements of the list that has just begun."""
        start, first = self._at, 0
        for mark in _marks(self._text, start, key, CUT):
            last = mark.text == b"]"
            if last and first > 0 and not bytes(self._text[start : mark.start]).strip():
                raise _no_json("expected another element", mark.start)
            yield Piece(key, first, b"[%b]" % bytes(self._text[start : mark.start]))
            start, first = mark.start + 1, mark.number
            if last:
                self._at = start
                return
        raise _no_json("the list is not closed", self._at)

    def end(self) -> None:
        self._skip()
        if self._at != len(self._text):
            raise _no_json("expected the end", self._at)


@dataclass(frozen=True, slots=True)
class _Mark:
    """The end of a piece: where it is, which bracket or comma ends it, and how many elements came before."""

    start: int
    text: bytes
    number: int


def _marks(text: memoryview, start: int, key: str, cut: int | None) -> Iterator[_Mark]:
    """Yield the ends of pieces: the first comma after every `cut` bytes, and the end of the list or the object."""
    at, begin, depth, number, parts = start, start, 0, 0, 0
    while depth >= 0:
        limit = min(len(text), begin + CUT + ELEMENT_BYTES)
        found = (_INSIDE if depth else _BETWEEN).search(text, at, limit)
        if found is None or found[0] == b'"':
            if limit == len(text):
                raise _no_json("it ends too early", limit)
            raise _too_much(key, number, f"should have at most {ELEMENT_BYTES} bytes")
        token, at, parts = bytes(found[0]), found.end(), parts + 1
        closes = token in {b"]", b"}"}
        depth += (token in {b"[", b"{"}) - closes
        if parts > PARTS:
            raise _too_much(key, number, f"should contain at most {PARTS} lists, objects and strings")
        if depth > DEPTH:
            raise _too_much(key, number, f"should be nested at most {DEPTH} levels deep")
        number += (closes and depth < 0) or token == b","
        if depth < 0 or (token == b"," and (cut is None or found.start() - begin >= cut)):
            yield _Mark(found.start(), token, number)
            begin, parts = at, 0


def wrong(kind: str, *place: str | int, said: str = "") -> RequestValidationError:
    """Describe what is wrong at one place, in pydantic's form."""
    return RequestValidationError([{"type": kind, "loc": ("body", *place), "msg": said}])


def _too_much(key: str, number: int, said: str) -> RequestValidationError:
    return wrong("value_error", key, number, said=said)


def _no_json(said: str, at: int) -> RequestValidationError:
    return wrong("json_invalid", at, said=said)


def prefixed(error: ValidationError, *place: str | int) -> RequestValidationError:
    """Turn the errors of a body, or of a member of it, into an error of the request."""
    found = error.errors(include_url=False, include_input=False)
    return RequestValidationError([{**entry, "loc": ("body", *place, *entry["loc"])} for entry in found])


def _placed(error: ValidationError, piece: Piece) -> RequestValidationError:
    """Turn the errors of a piece into errors of the whole body."""
    found = []
    for entry in error.errors(include_url=False, include_input=False):
        inside = entry["loc"]
        if piece.first is not None and inside and isinstance(inside[0], int):
            inside = (piece.first + inside[0], *inside[1:])
        found.append({**entry, "loc": ("body", piece.key, *inside)})
    return RequestValidationError(found)
