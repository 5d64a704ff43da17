"""Column types that store the same values on both databases.

SQLite stores some values that Postgres refuses (a NUL in a text, NaN in JSON), or stores another value instead (NULL
for NaN). With these types, both databases refuse them, with an error for which `refuses` says that another try would
also fail. Text that is only for people to read is changed so that it can be stored.
"""

import json
import math
import re
from typing import Any

from sqlalchemy import Dialect, Double, Text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.types import TypeDecorator

from tcsfeel.text import LONGEST, plain

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_REFUSED = {"22", "23"}  # data exception, integrity constraint violation


class Finite(TypeDecorator[float]):
    """A float of 64 bits that is neither infinite nor NaN."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        del dialect
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        return value


class Shown(TypeDecorator[str]):
    """A text for people, such as a reason, which may contain parts from outside."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        del dialect
        return None if value is None else plain(value, LONGEST)


def to_json(value: Any) -> str:
    """Write a value of a JSON column. Raises `ValueError` where Postgres could not read it."""
    text = _encode(value)
    text.encode()  # which half of a surrogate pair cannot be
    if "\\u0000" in text and _NUL.search(text):
        raise ValueError("a text holds a NUL, which Postgres does not store")
    return text


def refuses(error: BaseException) -> bool:
    """Tell whether the database refuses the values of a statement, so that this statement can never succeed."""
    if isinstance(error, DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        return isinstance(error, DataError | IntegrityError) or state[:2] in _REFUSED
    return isinstance(error, StatementError) and isinstance(error.orig, ValueError | TypeError | OverflowError)
