"""The server as its users run it, with a watch on its event loop: for how long can nothing else run there?

A task asks to come back every few milliseconds. Where it comes back late, the loop was held: by a callback, or by a
thread that held the interpreter's lock. On a busy machine a process also waits for a core; then it uses no processor
time meanwhile, so only so much of a delay counts as the process used of it. Each hold of `TOLD_SECONDS` or more is a
line of FILE: when it ended (unix seconds), its length, and how late the task was (seconds).
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import TextIO

from app import logs
from app.cli import serving
from app.settings import Settings

BEAT_SECONDS = 0.005
TOLD_SECONDS = 0.010


def main() -> None:
    """Run as ``main FILE PORT``."""
    file, port = sys.argv[1:]
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
    while True:
        began, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(BEAT_SECONDS)
        late = time.perf_counter() - began - BEAT_SECONDS
        held = min(late, time.process_time() - used)
        if held >= TOLD_SECONDS:
            print(f"{time.time():.3f} {held:.4f} {late:.4f}", file=out)


def holds(file: Path, start: float, end: float) -> list[float]:
    """Read the seconds of the holds that ended between two instants (unix seconds), the longest first."""
    lines = [line.split() for line in file.read_text().splitlines() if line.count(" ") == 2]
    return sorted((float(held) for at, held, _ in lines if start <= float(at) < end), reverse=True)
