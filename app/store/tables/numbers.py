"""Numbers that each database computes in its own way."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


def number(*, sqlite: str, postgresql: str) -> FunctionElement[int]:
    """Return an expression for a number, which is written as one SQL text or the other."""

    class Number(FunctionElement[int]):
        type = BigInteger()
        inherit_cache = True

    @compiles(Number, "sqlite")
    def _of_sqlite(*_given: Any, **_options: Any) -> str:
        return sqlite

    @compiles(Number, "postgresql")
    def _of_postgresql(*_given: Any, **_options: Any) -> str:
        return postgresql

    return Number()


NEXT_CHANGE = number(sqlite="(SELECT coalesce(max(change), 0) + 1 FROM clients)", postgresql="txid_current()")
"""The number of a change of a client, which the database gives to the row as it writes it."""
