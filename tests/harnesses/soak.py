"""Run small rounds for minutes, with heartbeats and users, and check that nothing grows: ``make soak MINUTES=10``.

A server runs one short training after another with a fleet that sends heartbeats, while users poll its API. Its memory,
descriptors, threads, connections to the database and the rows of each table are read every few seconds from outside.
After a warm-up, slopes are fitted to them by least squares. Rows may grow, because history is kept. Memory settles only
after a few hundred rounds: until then the heap of the C library gets holes of the size of a model, which are empty but
still belong to the process.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import httpx2
import numpy as np
from sqlalchemy import func, select, text

from app.store.database import Database
from app.store.tables import metadata
from tcsfeel.agent import hosting
from tests.e2e.servers import Server, call, server, unhandled
from tests.harnesses.databases import database_server, new_database
from tests.harnesses.wide import WideLearner

MEMORY_SLOPE = 1.0  # MiB a minute
STEADY = 2.0  # by which the median of descriptors or connections may change from the first to the last third
AGENTS = 20
CLIENTS_A_ROUND = 8
ROUNDS_A_TRAINING = 10
FIT_SECONDS = 0.02
FLOATS = 20_000
HEARTBEAT_SECONDS = 1.0
WARM_UP_SHARE = 0.3
PAUSE = 0.2  # seconds between two calls of a user
ENDED = {"completed", "failed", "cancelled"}
LOOKS = ("/v1/clients", "/v1/trainings", "/v1/connectivity", "/readyz", "/metrics")
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """A measurement of the server: `at` in seconds since the begin, memory in MiB, and rows by table.

    `memory` is the resident memory, and `private` the part of it that does not belong to files.
    """

    at: float
    memory: float
    private: float
    descriptors: int
    threads: int
    connections: int
    files: int
    rows: Mapping[str, int]


@dataclass(kw_only=True)
class Outcome:
    """The result of a run. `problems` is empty if everything is correct."""

    samples: Sequence[Sample]
    rounds: int = 0
    looks: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def warm(self) -> Sequence[Sample]:
        """Return the samples after the warm-up."""
        begin = WARM_UP_SHARE * self.samples[-1].at
        return [sample for sample in self.samples if sample.at >= begin]

    def slope(self, name: str) -> float:
        """Return the slope of a value per minute, by least squares."""
        minutes = [sample.at / 60 for sample in self.warm]
        return float(np.polyfit(minutes, [getattr(sample, name) for sample in self.warm], 1)[0])

    def rows_a_minute(self, table: str) -> float:
        minutes = [sample.at / 60 for sample in self.warm]
        return float(np.polyfit(minutes, [sample.rows[table] for sample in self.warm], 1)[0])

    def shift(self, name: str) -> float:
        """Return the change of a value from the median of the first third to that of the last."""
        values = [getattr(sample, name) for sample in self.warm]
        third = max(1, len(values) // 3)
        return float(median(values[-third:]) - median(values[:third]))


async def soak(*, seconds: float, every: float, directory: Path, database: str | None) -> Outcome:
    """Run for `seconds`, and take a sample every `every` seconds."""
    fleet = {f"c-{number}": WideLearner(number, seconds=FIT_SECONDS, floats=FLOATS) for number in range(AGENTS)}
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    samples: list[Sample] = []
    outcome = Outcome(samples=samples)
    async with (
        new_database(database, directory / "database") as url,
        server(directory, url, TCSFEEL_COORDINATOR__LEASE_SECONDS="15") as control,
        hosting(
            fleet,
            server_url=control.url,
            api_key=control.key,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            threads=CLIENTS_A_ROUND,
        ),
        control.api() as api,
        _watching(url) as db,
    ):
        began = time.monotonic()
        jobs = [asyncio.create_task(job) for job in (_train(api, outcome), _look(api, outcome))]
        try:
            while time.monotonic() - began < seconds and not any(job.done() for job in jobs):
                await asyncio.wait(jobs, timeout=every, return_when=asyncio.FIRST_COMPLETED)
                samples.append(await _sample(control, db, directory / "data", time.monotonic() - began))
        finally:
            for job in jobs:
                job.cancel()
            ends = await asyncio.gather(*jobs, return_exceptions=True)
        outcome.problems += [f"a user met {end!r}" for end in ends if isinstance(end, Exception)]
        outcome.problems += [f"log: {line}" for line in unhandled(control.log)]
    lines = [json.dumps(asdict(sample)) for sample in samples]
    await asyncio.to_thread((directory / "samples.jsonl").write_text, "\n".join(lines))
    return outcome


async def _train(api: httpx2.AsyncClient, outcome: Outcome) -> None:
    """Run one training after another."""
    number = 0
    while True:
        number += 1
        body = {
            "name": f"soak-{number}",
            "max_rounds": ROUNDS_A_TRAINING,
            "target_accuracy": 1.0,
            "selection": {"min_clients": CLIENTS_A_ROUND, "max_clients": CLIENTS_A_ROUND},
            "evaluation": {"clients": CLIENTS_A_ROUND},
        }
        path = f"/v1/trainings/{(await call(api, 'POST', '/v1/trainings', json=body))['id']}"
        await call(api, "POST", f"{path}/start")
        while (state := await call(api, "GET", path))["status"] not in ENDED:  # noqa: ASYNC110  (it is another process)
            await asyncio.sleep(PAUSE)
        if state["status"] != "completed":
            outcome.problems.append(f"{body['name']} is {state['status']}: {state['stop_detail']}")
        outcome.rounds += ROUNDS_A_TRAINING
        response = await api.get(f"{path}/model")
        response.raise_for_status()


async def _look(api: httpx2.AsyncClient, outcome: Outcome) -> None:
    """Call the API like a user who watches a dashboard."""
    while True:
        for path in LOOKS:
            response = await api.get(path)
            if not response.is_success:
                outcome.problems.append(f"GET {path}: {response.status_code}")
            outcome.looks += 1
            await asyncio.sleep(PAUSE)


@asynccontextmanager
async def _watching(url: str) -> AsyncIterator[Database]:
    db = Database(url, pool_size=1)
    try:
        yield db
    finally:
        await db.dispose()


async def _sample(control: Server, db: Database, data: Path, at: float) -> Sample:
    process = Path("/proc") / str(control.pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    descriptors = sum(1 for _ in (process / "fd").iterdir())
    files = await asyncio.to_thread(lambda: sum(len(names) for _, _, names in os.walk(data)))  # some vanish
    async with db.read() as tx:
        connections = 0
        if not db.is_sqlite:
            others = text("SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()")
            connections = (await tx.connection.execute(others)).scalar_one()
        rows = {}
        for table in metadata.sorted_tables:
            rows[table.name] = (await tx.connection.execute(select(func.count()).select_from(table))).scalar_one()
    return Sample(
        at=at,
        memory=int(status["VmRSS"].split()[0]) * 1024 / MIB,
        private=int(status["RssAnon"].split()[0]) * 1024 / MIB,
        descriptors=descriptors,
        threads=int(status["Threads"]),
        connections=connections,
        files=files,
        rows=rows,
    )


def growing(outcome: Outcome) -> list[str]:
    """List what grows although it should not."""
    slope = outcome.slope("memory")
    shifts = {name: outcome.shift(name) for name in ("descriptors", "threads", "connections")}
    found = [f"memory grows by {slope:.2f} MiB a minute"] if slope > MEMORY_SLOPE else []
    return found + [
        f"{shift:+g} {name} from the first to the last third" for name, shift in shifts.items() if shift > STEADY
    ]


def report(outcome: Outcome, database: str, found: Sequence[str]) -> str:
    """Return the last line of the report."""

    def measured(name: str) -> str:
        values = [getattr(sample, name) for sample in outcome.warm]
        return f"{name} {min(values):.0f}-{max(values):.0f} ({outcome.slope(name):+.2f}/min)"

    last = outcome.samples[-1]
    rows = [f"{table} {outcome.rows_a_minute(table):+.0f}" for table, count in last.rows.items() if count]
    return (
        f"soak on {database}: {last.at / 60:.1f} min, {outcome.rounds} rounds, {outcome.looks} looks; "
        f"memory {outcome.warm[0].memory:.0f} -> {last.memory:.0f} MiB ({outcome.slope('memory'):+.2f} MiB/min); "
        f"{measured('descriptors')}; {measured('threads')}; {measured('connections')}; {measured('files')}; "
        f"rows/min: {', '.join(rows)}; load {os.getloadavg()[0]:.1f}; "
        f"{'ok' if not found else f'{len(found)} PROBLEMS'}"
    )


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    with database_server(given.database) as url, contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-soak-")))
        outcome = await soak(seconds=60 * given.minutes, every=3, directory=directory, database=url)
    found = outcome.problems + growing(outcome)
    for problem in found[:50]:
        print(f"  {problem}")
    print(report(outcome, given.database, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
