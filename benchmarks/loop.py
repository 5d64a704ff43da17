"""Run a control plane and measure from inside how long single pieces of work hold its event loop.

``FILE serve …`` runs the command line. FILE gets a line for each callback, and for each step of a task, that took a
millisecond or more: when it ended (unix seconds), and the CPU seconds of the loop's thread, with garbage collection.
CPU seconds are measured because on a busy machine a thread also waits for a core.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tcsfeel.cli import main as tcsfeel

TOLD = 0.001  # seconds; shorter pieces are not written down


def main() -> None:
    file = sys.argv.pop(1)
    with Path(file).open("a", buffering=1) as out:
        watch(lambda seconds: print(f"{time.time():.6f} {seconds:.6f}", file=out))
        tcsfeel()


def watch(tell: Callable[[float], object]) -> None:
    """Call `tell` with the CPU seconds of each long piece of work of this process's event loops."""
    run = asyncio.Handle._run  # noqa: SLF001  (asyncio has no hook around a callback)

    def measured(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        seconds = time.thread_time() - began
        if seconds >= TOLD:
            tell(seconds)

    asyncio.Handle._run = measured  # type: ignore[method-assign, assignment]  # noqa: SLF001


def longest(file: Path, start: float, end: float) -> list[float]:
    """Read the seconds of the pieces of work that ended between two times (unix seconds), the longest first."""
    lines = [line.split() for line in file.read_text().splitlines() if line.count(" ") == 1]
    return sorted((float(seconds) for at, seconds in lines if start <= float(at) < end), reverse=True)
