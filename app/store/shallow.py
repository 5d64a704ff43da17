"""Make dictionaries of values, one level deep.

`dataclasses.asdict` copies everything that a value holds, down to the last number. A statement only reads it, and these
copies were a large part of the processor time of a round's transactions.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any


def reader(names: Sequence[str]) -> Callable[[Any], dict[str, Any]]:
    """Build a function that returns the attributes with these names, at least two, of a value by their names."""
    found = attrgetter(*names)
    return lambda value: dict(zip(names, found(value), strict=True))
