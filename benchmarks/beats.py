"""Run a control plane, and measure how late timers are that wake up its event loop every few milliseconds.

``FILE serve … --port PORT`` runs a server, and FILE gets a line for each timer that was late. The line has
the time (unix seconds), for how long the loop was held, how much processor time its own thread used of that, and for
how long garbage was collected (seconds). A thread that holds the interpreter's lock holds the loop as well. On a busy
machine a process also waits for a core and uses no processor time meanwhile. So the part of a delay counts for which
the whole process used a processor. If other threads work, this is an upper bound, and the loop's own time a lower one.

The timers are not real ones, which would wake up the loop 200 times a second and take 2 % of a slow core. The
loop's selector knows when each pass of the loop begins and ends, and with that when a timer would have run: at the end
of the first pass that begins after it is due, because a pass runs what has come over sockets before its timers.
"""

import asyncio
import gc
import math
import selectors
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

    with Path(file).open("a", buffering=1) as out, watched(out) as runner:  # a line now and then
        runner.run(server.serve())


def watched(out: TextIO) -> asyncio.Runner:
    """Make a runner of asyncio whose loop tells `out` when it was held."""
    return asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_Watch(out)))


class _Watch(selectors.DefaultSelector):
    """A selector that works out when a timer would have run that is due `BEAT_SECONDS` after the last one.

    The loop calls `select` between its passes.
    """

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._garbage = _Collections()
        gc.callbacks.append(self._garbage)
        self._began = self._due = time.perf_counter()  # when the pass of the loop began, and when the timer is due
        self._used = (0.0, 0.0, 0.0)
        self._set(self._began + BEAT_SECONDS)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ended = time.perf_counter()
        if self._due <= self._began:
            self._tell(ended - self._due)
            self._set(ended + BEAT_SECONDS)
        events = super().select(timeout)
        self._began = time.perf_counter()
        if ended < self._due <= self._began:  # it ended the wait, and so did those after it
            missed = math.ceil((self._began - self._due) / BEAT_SECONDS)
            self._set(self._due + max(1, missed) * BEAT_SECONDS)
        return events

    def close(self) -> None:
        super().close()
        gc.callbacks.remove(self._garbage)

    def _set(self, due: float) -> None:
        self._due = due
        self._used = self._spent()

    def _tell(self, late: float) -> None:
        if late < TOLD_SECONDS:
            return
        used, own, garbage = (now - before for now, before in zip(self._spent(), self._used, strict=True))
        held = min(late, used)
        if held >= TOLD_SECONDS:
            print(f"{time.time():.4f}", *(f"{figure:.4f}" for figure in (held, own, garbage)), file=self._out)

    def _spent(self) -> tuple[float, float, float]:
        """Return the seconds that the process and this thread have worked, and that collections have taken."""
        return time.process_time(), time.thread_time(), self._garbage.seconds


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
