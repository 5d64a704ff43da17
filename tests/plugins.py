"""Selection strategies of another package, installed for the time of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from tcsfeel.selection import installed, registry

PLUGIN = "theirs"
_given: list[Any] = []


def plugin(*arguments: Any) -> Any:
    """Do what the test wants."""
    return _given[-1](*arguments)


@contextmanager
def strategy(given: Any) -> Iterator[None]:
    """Let `given` be the strategy called `PLUGIN`."""
    with pytest.MonkeyPatch.context() as patch:
        points = EntryPoints([EntryPoint(PLUGIN, f"{__name__}:plugin", registry.ENTRY_POINTS)])
        patch.setattr(registry, "entry_points", lambda *, group: points.select(group=group))
        _given.append(given)
        installed.cache_clear()
        try:
            yield
        finally:
            installed.cache_clear()
            _given.pop()
