"""Find out why the parser gave up on a body, and in which field."""

import re
from collections.abc import Iterator

from fastapi.exceptions import RequestValidationError

from app.http.pieces import DEPTH, wrong

_TOKEN = re.compile(rb'[\[\]{}]|"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NAME = re.compile(rb'"([a-z_]{1,64})"[ \t\n\r]{0,64}:')
_DIGITS = re.compile(rb"[0-9]{4301}")  # Python makes no number of more than 4300


def unparsable(body: bytes, error: BaseException | None) -> RequestValidationError | None:
    """Say what in the body made the parser raise `error`; None if the body is not to blame."""
    if isinstance(error, RecursionError):
        words = f"is nested too deeply: no field needs more than {DEPTH} levels"
        return wrong("value_error", *_field(body, None), said=words)
    if isinstance(error, UnicodeDecodeError):
        return wrong("value_error", *_field(body, error.start), said="is not JSON: it is not UTF-8")
    if isinstance(error, ValueError):
        found = _DIGITS.search(body)
        place = () if found is None else _field(body, found.start())
        return wrong("value_error", *place, said="cannot be parsed: a number has too many digits")
    return None


def _field(body: bytes, at: int | None) -> tuple[str, ...]:
    """Find the field at a byte of the body, or without `at` the first that is nested too deeply; () if unknown."""
    place: tuple[str, ...] = ()
    for start, depth, name in _tokens(body):
        if (depth > DEPTH) if at is None else (start > at):
            break
        if depth == 1 and name is not None:
            place = (name,)
    return place


def _tokens(body: bytes) -> Iterator[tuple[int, int, str | None]]:
    """Yield the start and depth of each bracket and string, and its name if the string is the name of a field."""
    depth = 0
    for found in _TOKEN.finditer(body):
        token = found[0]
        depth += (token in {b"[", b"{"}) - (token in {b"]", b"}"})
        name = _NAME.match(body, found.start())
        yield found.start(), depth, None if name is None else str(name[1], "ascii")
