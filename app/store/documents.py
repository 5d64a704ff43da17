"""Make values of JSON documents that another version of the program may have written."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

Value = TypeVar("Value")


def value_of(kind: type[Value], given: Mapping[str, Any]) -> Value:
    """Make a value of a dataclass. Fields that only a newer version knows are left out.

    During an upgrade, servers of two versions share the rows. Raises `TypeError` if a field is missing.
    """
    try:
        return kind(**given)
    except TypeError:
        known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
        return kind(**{name: value for name, value in given.items() if name in known})
