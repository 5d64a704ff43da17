"""Format the tables for a terminal and for a page."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks.selection.comparison import COLUMNS, Comparison
from benchmarks.selection.trial import Setting


def heading(rounds: int, seeds: Sequence[int]) -> str:
    """Return a heading that says when, where and what was measured."""
    where = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, numpy {version('numpy')}"
    )
    return f"{datetime.now(UTC):%Y-%m-%d}, {where}; {rounds} rounds, seeds {', '.join(map(str, seeds))}\n"


def table(setting: Setting, baseline: str, found: Mapping[str, Comparison]) -> str:
    """Return the table of a setting for a terminal."""
    rows = _cells(found)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"\n{_title(setting)}, compared with {baseline}", *lines])


def markdown(setting: Setting, baseline: str, found: Mapping[str, Comparison]) -> str:
    """Return the table of a setting for a page."""
    title, *rows = ["| " + " | ".join(row) + " |" for row in _cells(found)]
    return "\n".join(
        [f"### {_title(setting)}, compared with {baseline}\n", title, "|---" * (len(COLUMNS) + 1) + "|", *rows, ""]
    )


def _title(setting: Setting) -> str:
    return f"{setting.dataset}, {setting.partition}, N = {setting.clients}, K = {setting.per_round}"


def _cells(found: Mapping[str, Comparison]) -> list[list[str]]:
    header = ["strategy", *(column.title for column in COLUMNS)]
    return [header, *([name, *(column.cell(one) for column in COLUMNS)] for name, one in found.items())]
