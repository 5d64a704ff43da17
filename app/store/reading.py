"""Read many rows without holding the event loop and without using much memory.

Rows become values on the event loop, which has other work to do in between. Some rows are a thousand times as long as
others: a client may report ten thousand labels. So rows are counted by their *weight*, which is about the number of
bytes that they have as JSON. The weight decides when other tasks get their turn, how many rows the next statement
reads, and where a list ends that would be too long for one answer.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

ROW = 500  # what a row weighs besides its long values
VALUE = 20  # what a number in a list or in a map weighs
TURN = 100_000  # weight of the rows that become values between two turns of the event loop: some 5 ms
STATEMENT = 2_000_000  # weight that the rows of one statement should have
LISTED = 8_000_000  # weight of what one answer lists: the item that reaches it is the last one
MANY = 100  # rows that one statement asks for at most; the first one asks for a quarter
SHORT = 500  # the same where the columns of a row are short texts
MOST_PARAMETERS = 30_000  # of a statement: Postgres takes 32 767 of them, SQLite as many or more
NARROW = 2000  # the same where a row has no texts but ids

_NUMBERS = frozenset({float, int, bool, type(None)})

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Part(Generic[Value]):
    """The first items of a list; `more` says whether others follow."""

    items: list[Value]
    more: bool


class Walk:
    """Counts what the rows of one or several statements weigh, and gives other tasks their turn."""

    def __init__(self) -> None:
        self.weight = 0
        self._next_turn = TURN

    async def past(self, row: Iterable[Any]) -> None:
        """Count a row whose value was made."""
        self.weight += weigh(row)
        if self.weight >= self._next_turn:
            self._next_turn = self.weight + TURN
            await asyncio.sleep(0)


def weigh(row: Iterable[Any]) -> int:
    """Return about how many bytes a row has as JSON."""
    return ROW + sum(_length(value) for value in row if isinstance(value, str | bytes | list | dict))


def _length(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(len, value)) + _lengths(value.values())
    return _lengths(value) if isinstance(value, list) else VALUE


def _lengths(values: Collection[Any]) -> int:
    """The lengths of some values together, quickly where they are ten thousand numbers."""
    if _NUMBERS.issuperset(map(type, values)):
        return VALUE * len(values)
    return sum(map(_length, values))


def never(row: Row[Any]) -> bool:
    """Say that no row ends a list."""
    del row
    return False


async def read(
    connection: AsyncConnection,
    query: Select[Any],
    made: Callable[[Row[Any]], Value],
    beyond: Callable[[Row[Any]], ColumnElement[bool]],
    *,
    limit: float = math.inf,
    ends: Callable[[Row[Any]], bool] = never,
    walk: Walk | None = None,
    many: int = MANY,
) -> Part[Value]:
    """Read at most `limit` rows of an ordered query, and make a value of each.

    `beyond` gives the condition that holds for the rows after a row. The list ends early before a row for which `ends`
    is true. A statement asks for at most `many` rows, and for fewer where those before were heavy.
    """
    walk = walk or Walk()
    found: list[Value] = []
    size, rest = max(1, many // 4), query
    while True:
        wanted, weight, last = int(min(size, limit + 1 - len(found))), walk.weight, None
        count = 0
        for row in await connection.execute(rest.limit(wanted)):
            if len(found) >= limit or ends(row):
                return Part(found, more=True)
            found.append(made(row))
            await walk.past(row)
            last, count = row, count + 1
        if last is None or count < wanted:
            return Part(found, more=False)
        rest, size = query.where(beyond(last)), following(wanted, walk.weight - weight, many)


def following(size: int, weight: int, many: int) -> int:
    """Return how many rows to ask for after `size` rows that weighed `weight`."""
    return max(1, min(many, 5 * size, size * STATEMENT // max(weight, 1)))
