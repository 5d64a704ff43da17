"""Run a control plane, and count the statements and the transactions that its rounds send to the database.

``FILE serve …`` runs the command line. FILE holds the numbers, which grow: those of the work for trainings (`ROUNDS`),
and those of all work, with that of the API and of the loops of the process (`ALL`). A statement that writes many rows
is one, and the statements that begin and end a transaction do not count.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.sharing import NOBODY, current_party
from tcsfeel.cli import main as tcsfeel

ROUNDS, ALL = range(2)
_STATEMENTS, _TRANSACTIONS = range(2)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many statements and transactions there were."""

    statements: int
    transactions: int

    @classmethod
    def read(cls, file: Path, of: int = ROUNDS) -> Self:
        return cls(*np.fromfile(file, np.int64).reshape(2, 2)[of].tolist())

    def __sub__(self, before: "Counts") -> "Counts":
        return Counts(self.statements - before.statements, self.transactions - before.transactions)


def main() -> None:
    count(Path(sys.argv.pop(1)))
    tcsfeel()


def count(file: Path) -> None:
    """Count what every engine of this process does from now on, in a file that other processes may read."""
    counts = np.memmap(file, np.int64, "w+", shape=(2, 2))

    def note(which: int) -> None:
        counts[ALL, which] += 1
        if current_party() != NOBODY:
            counts[ROUNDS, which] += 1

    @event.listens_for(Engine, "before_cursor_execute")
    def statement(_connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        if not text.startswith("BEGIN"):
            note(_STATEMENTS)

    @event.listens_for(Engine, "begin")
    def transaction(_connection: Any) -> None:
        note(_TRANSACTIONS)
