"""Wrong values of each kind, and cases made of them: a body, and the pointers that its refusal names."""

import json
from collections.abc import Callable, Iterator
from typing import Any

Body = Any
Case = tuple[Body, str | tuple[str, ...]]

HUGE = "9" * 400
LONG = "x" * 100_000
DEEP = "[" * 50_000
NOT_A_NUMBER: tuple[Any, ...] = (None, True, "7", "", [], {}, [1])
NOT_A_COUNT: tuple[Any, ...] = (*NOT_A_NUMBER, 1.5, 7.0, -1, 10**400)
NOT_TEXT: tuple[Any, ...] = (7, True, [], {}, ["a"])
HOSTILE_TEXT = ("a\0b", "a\nb", "\x1b[31m", "\x7f", "\x9b31m", "a\u202eb", "\u2028", "\ud800", LONG)
NOT_AN_OBJECT: tuple[Any, ...] = (None, 7, "text", [], [[]], True)
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")
NOT_JSON: list[Case] = [
    ("", ""),
    (" ", ""),
    ("{", ""),
    ('{"id":', ""),
    ("{'id': 'edge'}", ""),
    ("{} {}", ""),
    ("\0", ""),
    (b"\xff\xfe", ""),
    (b'{"\xff":"id"}', ""),
    (DEEP, ""),
    ('{"A":' * 10_000, ""),
    *((body, "") for body in NOT_AN_OBJECT),
]


def text(body: Any, value: str) -> str:
    """JSON text of a body in which the string ``?`` stands for something that JSON cannot say."""
    return json.dumps(body).replace('"?"', value)


def one(field: str, *values: Any) -> Iterator[tuple[dict[str, Any], str]]:
    yield from (({field: value}, f"/{field}") for value in values)


def each(make: Callable[[Any], Body], pointer: str, *values: Any) -> Iterator[Case]:
    yield from ((make(value), pointer) for value in values)


def under(prefix: str, pointers: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}{pointer}" for pointer in ((pointers,) if isinstance(pointers, str) else pointers))


def within(field: str, cases: list[Case]) -> Iterator[Case]:
    yield from (({field: body}, under(f"/{field}", pointers)) for body, pointers in cases)
