"""Generate load in a process of its own, at a fixed rate, so that slow answers do not delay the requests after them.

``SERVER KEY_FILE CLIENTS RATE FILE`` sends RATE requests a second for a client's record, until the process is ended.
FILE gets a line for each request: when it was sent (unix seconds), the seconds until its answer (inf if that was not a
success), and the seconds by which it was sent too late. It was late because this process waited for a core, so the last
number shows which part of a latency comes from the machine.
"""

import asyncio
import contextlib
import math
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

import aiohttp
import numpy as np

from benchmarks.fleet import client_id

TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A request as it was measured; see the module."""

    at: float
    seconds: float
    late: float


@dataclass(frozen=True, slots=True)
class Latency:
    """The latencies of some samples in milliseconds. `lateness` is the 99th percentile of the generator's own delay."""

    count: int
    p50: float
    p99: float
    worst: float
    lateness: float

    @classmethod
    def of(cls, samples: list[Sample]) -> Self:
        taken = np.array([(sample.seconds, sample.late) for sample in samples]) * 1000
        p50, p99, worst = np.percentile(taken[:, 0], [50, 99, 100])
        return cls(len(samples), float(p50), float(p99), float(worst), float(np.percentile(taken[:, 1], 99)))


def read(file: Path, start: float, end: float) -> list[Sample]:
    """Read the requests that were sent between two times (unix seconds)."""
    lines = file.read_text().splitlines()
    samples = [Sample(*map(float, line.split())) for line in lines if line.count(" ") == 2]
    return [sample for sample in samples if start <= sample.at < end]


async def generate(server: str, key: str, clients: int, rate: float, out: TextIO) -> None:
    """Send requests until cancelled."""
    headers = {"Authorization": f"Bearer {key}"}
    asking: set[asyncio.Task[None]] = set()

    async def ask(http: aiohttp.ClientSession, number: int, due: float) -> None:
        at, sent = time.time(), time.perf_counter()
        try:
            async with http.get(f"/v1/clients/{client_id(number % clients)}") as answer:
                await answer.read()
                answer.raise_for_status()
            seconds = time.perf_counter() - sent
        except (aiohttp.ClientError, TimeoutError):
            seconds = math.inf
        out.write(f"{at:.6f} {seconds:.6f} {sent - due:.6f}\n")

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with aiohttp.ClientSession(server, headers=headers, timeout=timeout) as http:
        start = time.perf_counter()
        number = 0
        while True:
            due = start + number / rate
            await asyncio.sleep(due - time.perf_counter())
            task = asyncio.create_task(ask(http, number, due))
            asking.add(task)
            task.add_done_callback(asking.discard)
            number += 1


async def _until_told(server: str, key: str, clients: int, rate: float, file: Path) -> None:
    with file.open("w", buffering=1) as out:
        work = asyncio.create_task(generate(server, key, clients, rate, out))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work


def main() -> None:
    _, server, key_file, clients, rate, file = sys.argv
    asyncio.run(_until_told(server, Path(key_file).read_text().strip(), int(clients), float(rate), Path(file)))


if __name__ == "__main__":
    main()
