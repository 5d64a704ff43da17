"""Show the progress of a training: as a moving table on a terminal, otherwise as one plain line for each round."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.demo.history import History

SHOWN_ROUNDS = 12
FRAMES_PER_SECOND = 4


class Display(Protocol):
    """The interface of what shows a growing history."""

    def update(self) -> None:
        """Note that the history has one more round."""
        ...


@contextmanager
def progress(console: Console, history: History, target: float) -> Iterator[Display]:
    """Show `history` while the block runs."""
    if not console.is_terminal:
        yield Lines(console, history)
        return
    table = Moving(history, target)
    with Live(table, console=console, refresh_per_second=FRAMES_PER_SECOND):
        yield table


class Lines:
    """Prints one line for each round."""

    def __init__(self, console: Console, history: History) -> None:
        self._console = console
        self._history = history

    def update(self) -> None:
        row = self._history.rows[-1]
        self._console.print(
            f"round {row.number:3}  accuracy {_accuracy(row.accuracy)}  cost so far {self._history.cost:7.2f} s  "
            f"clients {row.received}/{row.selected}  failures {row.failures}  {row.seconds:.2f} s",
            highlight=False,
        )


class Moving:
    """Draws the last rounds, the distance to the target, and the time since the begin."""

    def __init__(self, history: History, target: float) -> None:
        self._history = history
        self._target = target
        self._began = time.monotonic()

    def update(self) -> None:
        """Do nothing, because the table is drawn anew with every frame."""

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for heading in ("round", "accuracy", "cost so far", "clients", "failures", "seconds"):
            table.add_column(heading, justify="right")
        rows = self._history.rows
        spent = sum(row.cost for row in rows[:-SHOWN_ROUNDS])
        for row in rows[-SHOWN_ROUNDS:]:
            spent += row.cost
            reached = row.accuracy is not None and row.accuracy >= self._target
            table.add_row(
                str(row.number),
                Text(_accuracy(row.accuracy), style="bold green" if reached else ""),
                f"{spent:.2f} s",
                f"{row.received}/{row.selected}",
                Text(str(row.failures or ""), style="yellow"),
                f"{row.seconds:.2f}",
            )
        return Group(self._headline(), table)

    def _headline(self) -> RenderableType:
        line = Table.grid(padding=(0, 2))
        best = max((row.accuracy or 0.0 for row in self._history.rows), default=0.0)
        line.add_row(
            Text(f"best {best:.4f} of {self._target:.4f}"),
            ProgressBar(total=self._target, completed=min(best, self._target), width=32),
            Text(f"{time.monotonic() - self._began:.0f} s"),
        )
        return line


def _accuracy(value: float | None) -> str:
    return "-     " if value is None else f"{value:.4f}"
