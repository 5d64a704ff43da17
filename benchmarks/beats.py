"""Run a control plane whose event loop has to wake up every few milliseconds, and measure how late it wakes up.

``FILE serve … --port PORT`` runs a server, and FILE gets a line for each time that the loop woke up late. The line has
the time (unix seconds), for how long the loop was held, how much processor time its own thread used of that, and for
how long garbage was collected (seconds). A thread that holds the interpreter's lock holds the loop as well. On a busy
machine a process also waits for a core and uses no processor time meanwhile. So the part of a delay counts for which
the whole process used a processor. If other threads work, this is an upper bound, and the loop's own time a lower one.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from app import logs
from app.commands import serving
from app.settings import Settings

BEAT_SECONDS = 0.005
TOLD_SECONDS = 0.010


@dataclass(frozen=True, slots=True, order=True)
class Hold:
    """The seconds for which the loop was held, in which its own thread worked, and in which garbage was collected."""

    seconds: float = 0.0
    own: float = 0.0
    garbage: float = 0.0


def main() -> None:
    file, port = sys.argv[1], sys.argv[-1]
    settings = Settings.load(host="127.0.0.1", port=int(port))
    logs.configure(settings.log)
    server = serving.prepared(settings)

    async def serve() -> None:
        with Path(file).open("a", buffering=1) as out:  # noqa: ASYNC230  (a line now and then)
            watch = asyncio.create_task(_watch(out))
            try:
                await server.serve()
            finally:
                watch.cancel()

    asyncio.run(serve())


async def _watch(out: TextIO) -> None:
    garbage = _Collections()
    gc.callbacks.append(garbage)
    while True:
        began, used, own, collected = time.perf_counter(), time.process_time(), time.thread_time(), garbage.seconds
        await asyncio.sleep(BEAT_SECONDS)
        late = time.perf_counter() - began - BEAT_SECONDS
        held = min(late, time.process_time() - used)
        if held >= TOLD_SECONDS:
            figures = (held, time.thread_time() - own, garbage.seconds - collected)
            print(f"{time.time():.4f}", *(f"{figure:.4f}" for figure in figures), file=out)


class _Collections:
    """Adds up the seconds that garbage collections take, in any thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __call__(self, phase: str, _about: Mapping[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.seconds += now - self._began


def holds(file: Path, start: float, end: float) -> list[Hold]:
    """Read the holds that ended between two times (unix seconds), the longest first."""
    lines = [line.split() for line in file.read_text().splitlines() if line.count(" ") == 3]
    found = [Hold(*map(float, figures)) for at, *figures in lines if start <= float(at) < end]
    return sorted(found, reverse=True)
