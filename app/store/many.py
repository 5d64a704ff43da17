"""Write many rows with one statement, with little work for each row.

For each row, SQLAlchemy finds the value and the type of each parameter anew. With thirty columns this takes longer than
the database needs for the row. Here a statement is compiled once for each database, and each of its parameters is
converted by the function of its type, as SQLAlchemy does it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Dialect, Insert, Update
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncConnection

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement for one database: its text, the order of the values of a row, and how some of them are converted."""

    text: str
    values_of: Callable[[Row], tuple[Any, ...]]
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]

    @classmethod
    def of(cls, statement: Insert | Update, names: Collection[str], dialect: Dialect) -> "_Compiled":
        compiled = statement.compile(dialect=dialect, column_keys=list(names))
        order = compiled.positiontup or []
        types = [compiled.binds[name].type.dialect_impl(dialect) for name in order]
        converters = ((place, kind.bind_processor(dialect)) for place, kind in enumerate(types))
        return cls(str(compiled), itemgetter(*order), tuple((at, convert) for at, convert in converters if convert))

    def parameters(self, row: Row) -> tuple[Any, ...]:
        values = list(self.values_of(row))
        for place, convert in self.converters:
            values[place] = convert(values[place])
        return tuple(values)


class ManyRows:
    """Executes an ``INSERT`` or an ``UPDATE`` for each of many rows, which have the same `names`, at least two."""

    def __init__(self, statement: Insert | Update, names: Collection[str]) -> None:
        self._statement = statement
        self._names = names
        self._compiled: dict[str, _Compiled] = {}  # by the name of the dialect

    async def write(self, connection: AsyncConnection, rows: Collection[Row]) -> None:
        """Execute the statement for each row. Raises `StatementError` for a value that cannot be stored, and others."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            self._compiled[dialect.name] = compiled = _Compiled.of(self._statement, self._names, dialect)
        try:
            parameters = [compiled.parameters(row) for row in rows]
        except (ValueError, TypeError, OverflowError) as error:
            raise StatementError(str(error), compiled.text, None, error) from error
        await connection.exec_driver_sql(compiled.text, parameters)
