"""A row for every table, with a value in every column that can have one."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Integer, LargeBinary, Table

from app.store.backups import TABLES
from app.store.columns import Finite

OF_FILES = {"sha256", "model", "base_model", "optimiser_state", "result"}
FIXED = {"training_id": "t", "round": 1, "trainings.id": "t", "rounds.number": 1, "model_versions.removed_at": None}


def sample_rows(sha256: str) -> dict[Table, list[dict[str, Any]]]:
    """A row of each table. Columns that name a file name the one with this SHA-256."""
    return {
        table: [{column.name: _value(column, number, sha256) for number, column in enumerate(table.c, 2)}]
        for table in TABLES
    }


def _value(column: Column[Any], number: int, sha256: str) -> Any:
    for name in (column.name, f"{column.table.name}.{column.name}"):
        if name in FIXED:
            return FIXED[name]
    match column.type:
        case JSON():
            return {"ä": [1, 0.1, None, "\n"]}
        case LargeBinary():
            return bytes(range(256))
        case Integer() | BigInteger() | Boolean():
            return True if isinstance(column.type, Boolean) else number
        case Finite() | Double():
            return number + 0.1
    return sha256 if column.name in OF_FILES else f"x{number}"
