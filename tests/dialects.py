"""Let all engines of a process share the statements that they have compiled.

Each test opens databases of its own. SQLAlchemy keeps what it has compiled for each engine, and for each object that
describes a dialect, so every test would compile every statement again, which takes a fifth of its time.
"""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import dialect as postgres
from sqlalchemy.dialects.sqlite.aiosqlite import dialect as sqlite
from sqlalchemy.util import LRUCache

STATEMENTS = 3000

_compiled: LRUCache[Any, Any] = LRUCache(STATEMENTS)


class _Alike:
    """Two dialects that were made in the same way are equal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        options.pop("dbapi", None)  # a new object around the same driver
        self._made = (type(self), frozenset(options.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alike) and self._made == other._made

    def __hash__(self) -> int:
        return hash(self._made)


class Sqlite(_Alike, sqlite):
    """The dialect of SQLite."""

    supports_statement_cache = True


class Postgres(_Alike, postgres):
    """The dialect of Postgres."""

    supports_statement_cache = True


def share_compiled_statements() -> None:
    """Call this before the first engine is made."""
    registry.register("sqlite.aiosqlite", __name__, Sqlite.__name__)
    registry.register("postgresql.asyncpg", __name__, Postgres.__name__)
    event.listen(Engine, "engine_connect", _share)


def _share(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_compiled)
