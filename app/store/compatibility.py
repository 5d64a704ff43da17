"""Tell what in a schema keeps a program from working that was written for another one.

A program works on the schema of a newer version if the migrations between them have only added: tables, columns that
are filled without it, indexes, wider types. A server asks this before it works on a schema that it does not know, and
a test asks it of each migration that is new. CHECK constraints are not compared, since Alembic does not see them.
"""

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import BigInteger, Column, Connection, ForeignKeyConstraint, Integer, MetaData, String, Table
from sqlalchemy.types import TypeEngine

LET_GO = {"CASCADE", "SET NULL"}
"""Rules of foreign keys by which rows of an unknown table do not keep those to which they belong."""
RETIRED = "retired"
"""The key in `Column.info` of a column that this version neither reads nor writes, so that a later one may drop it."""


def obstacles(connection: Connection, known: MetaData) -> list[str]:
    """Name what in the schema of a database keeps a program from working that knows the tables of `known`.

    The list is empty if the schema is the program's own, or one to which others have only added.
    """
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    differences = _each(compare_metadata(context, known))
    return sorted({text for difference in differences for text in _obstacle(known, *difference)})


def _each(differences: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the differences one by one. Alembic lists those of a column together."""
    for difference in differences:
        if isinstance(difference, list):
            yield from difference
        else:
            yield difference


def _obstacle(known: MetaData, kind: str, *what: Any) -> Iterator[str]:
    """Yield the obstacle in a difference. ``add`` is what the database lacks, ``remove`` what it has in addition."""
    match kind, *what:
        case "add_table", table:
            yield f"lacks the table {table.name}"
        case "remove_table", table:
            yield from _held(known, table)
        case "add_column", _, table, column if not column.info.get(RETIRED):
            yield f"lacks {table}.{column.name}"
        case "remove_column", _, table, column if _wants_a_value(column):
            yield f"has {table}.{column.name}, which needs a value"
        case "modify_nullable", _, table, column, _, is_nullable, _:
            yield f"has NULL in {table}.{column}" if is_nullable else f"refuses NULL in {table}.{column}"
        case "modify_type", _, table, column, _, there, own if not _holds(there, own):
            yield f"has another type in {table}.{column}"
        case (("add_constraint" | "remove_constraint"), constraint):
            yield _of_rule(kind, constraint.table.name, constraint.columns.keys())
        case (("add_index" | "remove_index"), index) if index.unique:
            yield _of_rule(kind, index.table.name, index.columns.keys())
        case (("add_fk" | "remove_fk"), key):
            yield _of_key(kind, key)


def _of_key(kind: str, key: ForeignKeyConstraint) -> str:
    if kind == "add_fk":
        return f"does not delete rows of {key.table.name} with those of {key.referred_table.name}"
    return f"ties {key.table.name}.{', '.join(key.column_keys)} to other rows"


def _held(known: MetaData, table: Table) -> Iterator[str]:
    """Yield what rows of a table that this version does not know keep it from deleting."""
    for key in table.foreign_key_constraints:
        if key.referred_table.name in known.tables and key.ondelete not in LET_GO:
            yield f"has {table.name}, which keeps rows of {key.referred_table.name} from being deleted"


def _of_rule(kind: str, table: str, columns: list[str]) -> str:
    verb = "does not keep" if kind.startswith("add") else "wants"
    return f"{verb} {', '.join(columns)} of {table} unique"


def _wants_a_value(column: Column[Any]) -> bool:
    return column.primary_key or (not column.nullable and column.server_default is None)


def _holds(there: TypeEngine[Any], own: TypeEngine[Any]) -> bool:
    """Tell whether a column of the type `there` takes and gives every value of the type `own`."""
    if isinstance(there, String) and isinstance(own, String):
        return there.length is None or (own.length is not None and own.length <= there.length)
    return isinstance(there, BigInteger) and isinstance(own, Integer)
