"""Run a control plane, and count its statements, its transactions, and its calls of agents.

``FILE serve …`` runs the command line. FILE is that of `benchmarks.statements`, and beside it is one with the calls.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from app.services.tasks.connections import AgentTransport
from benchmarks.machine import file_bytes
from benchmarks.statements import Counts, count
from tcsfeel.cli import main as tcsfeel


@dataclass(frozen=True, slots=True)
class Spent:
    """What the work of a control plane has taken so far.

    Attributes:
        statements: of the database.
        transactions: of the database.
        calls: of agents.
        file_bytes: that were read from files and written to files by calls of the system.
    """

    statements: int
    transactions: int
    calls: int
    file_bytes: int

    @classmethod
    def read(cls, file: Path, pid: int) -> Self:
        counts = Counts.read(file)
        calls = int(np.fromfile(_beside(file), np.int64)[0])
        return cls(counts.statements, counts.transactions, calls, file_bytes(pid))

    def __sub__(self, before: "Spent") -> "Spent":
        return Spent(
            self.statements - before.statements,
            self.transactions - before.transactions,
            self.calls - before.calls,
            self.file_bytes - before.file_bytes,
        )


def main() -> None:
    file = Path(sys.argv.pop(1))
    count(file)
    count_calls(_beside(file))
    tcsfeel()


def count_calls(file: Path) -> None:
    """Count the calls of agents from now on, in a file that other processes may read."""
    calls = np.memmap(file, np.int64, "w+", shape=(1,))
    exchange = AgentTransport.exchange

    async def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return await exchange(*args, **kwargs)

    AgentTransport.exchange = counted  # type: ignore[method-assign]  # a benchmark may look into its product


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}-calls")
