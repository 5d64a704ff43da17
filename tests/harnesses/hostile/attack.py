"""Run calm times and attacks in turn, and measure each of them.

Several groups of clients share the server. `q-` is the quiet fleet, which only trains, and whose rounds are timed. `h-`
are agents that are hostile when they train, together with a few honest ones (`h-honest-…`) in one training. `e-` are
hostile when they evaluate, `m-` when they are asked for a first model, and `p-` when they are probed.

The *floor* is the same run with a second server that is attacked in place of the quiet fleet's server, on the same core
or on another one.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.beats import holds
from tests.e2e.servers import Server, call
from tests.harnesses.databases import new_database
from tests.harnesses.hostile import placement
from tests.harnesses.hostile.fleets import (
    FLOATS,
    QUIET,
    attacked,
    callers,
    honest_fleet,
    hostile_agents,
    quiet_fleet,
    register,
    remove,
    train,
)
from tests.harnesses.hostile.outcome import Outcome, Period, Run, Sample
from tests.harnesses.strategies import offer

LOOK_SECONDS = 0.25
REST_SECONDS = 2.0  # between two times that are measured
ENVIRONMENT = {
    "TCSFEEL_COORDINATOR__LEASE_SECONDS": "15",
    "TCSFEEL_HEALTH__INTERVAL_SECONDS": "2",
    "TCSFEEL_AGENTS__CONNECT_SECONDS": "2",
    "TCSFEEL_AGENTS__READ_SECONDS": "5",
    "TCSFEEL_AGENTS__POLL_SECONDS": "2",
    "TCSFEEL_LOG__FORMAT": "json",
    "TCSFEEL_MAX_BODY_BYTES": "24000000",  # so that two long bodies use all of the memory
}


class _Watched(Server):
    """A server whose event loop is watched."""

    core: int | None = None

    @property
    def holds(self) -> Path:
        return self.log.with_name("holds")

    @property
    def command(self) -> list[str]:
        code = f"{placement.beginning(self.core)}from benchmarks.beats import main; main()"
        return ["-c", code, str(self.holds), str(self.port)]

    def processor(self) -> float:
        """Return the seconds of processor time that the server has used."""
        stat = (Path("/proc") / str(self.pid) / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


async def attack(run: Run, directory: Path, database: str | None) -> Outcome:
    """Run everything on one database."""
    outcome = Outcome()
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    try:
        async with AsyncExitStack() as stack:
            server = target = await stack.enter_async_context(_running(directory, database, run.core, outcome))
            if run.floor is not None:
                core = run.core if run.floor == "same-core" else None
                other = _running(directory / "other", database, core, Outcome())
                target = await stack.enter_async_context(other)
            await stack.enter_async_context(quiet_fleet(server, directory))
            await stack.enter_async_context(honest_fleet(target))
            await _run(run, server, target, outcome, directory)
    except (httpx2.TransportError, OSError) as error:
        outcome.gone = f"{type(error).__name__}: {error}"
    return outcome


@asynccontextmanager
async def _running(
    directory: Path, database: str | None, core: int | None, outcome: Outcome
) -> AsyncIterator[_Watched]:
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    path = offer(directory / "packages")
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(path), str(Path.cwd())])}
    async with new_database(database, directory / "database") as url:
        server = _Watched(directory, url, **environment)
        server.core = core
        await server.start()
        try:
            yield server
        finally:
            outcome.status = await asyncio.to_thread(_stop, server)
            outcome.log = server.log.read_text(errors="replace")
            samples = [
                f"{sample.at:.2f} {sample.memory} {sample.disk} {sample.descriptors}" for sample in outcome.samples
            ]
            server.log.with_name("samples").write_text("\n".join(samples))


async def _run(run: Run, server: _Watched, target: _Watched, outcome: Outcome, directory: Path) -> None:
    async with server.api() as api, target.api() as attacked_api:
        quiet = await train(api, "quiet", "q", QUIET, FLOATS, evaluation={"clients": 0}, max_rounds=1_000_000)
        watching = asyncio.create_task(_sample(server, directory / "data", outcome))
        await asyncio.sleep(REST_SECONDS)
        try:
            async with hostile_agents(directory) as port:
                for number in range(run.periods):
                    async with _measured(server, outcome, hostile=False):
                        await asyncio.sleep(run.calm)
                    await register(attacked_api, port)
                    seen = directory / f"seen-{number}.json"
                    async with (
                        _attacked(attacked_api, run, target, outcome, seen),
                        _measured(server, outcome, hostile=True),
                    ):
                        await asyncio.sleep(run.attack / run.periods)
                    outcome.note(seen)
                    await remove(attacked_api)
                    await asyncio.sleep(REST_SECONDS)
            async with _measured(server, outcome, hostile=False):
                await asyncio.sleep(run.calm)
            await api.post(f"/v1/trainings/{quiet}/pause")
            outcome.quiet = await _rounds(api, quiet)
        finally:
            watching.cancel()
            await asyncio.wait([watching])
    hostile = [period for period in outcome.periods if period.hostile]
    outcome.holds = sorted(
        (hold.seconds for period in hostile for hold in holds(server.holds, period.start, period.end)), reverse=True
    )


@asynccontextmanager
async def _measured(server: _Watched, outcome: Outcome, *, hostile: bool) -> AsyncIterator[None]:
    start, processor = time.time(), server.processor()
    yield
    period = Period(hostile, start, time.time(), server.processor() - processor, placement.load())
    outcome.periods.append(period)


@asynccontextmanager
async def _attacked(
    api: httpx2.AsyncClient, run: Run, target: Server, outcome: Outcome, file: Path
) -> AsyncIterator[None]:
    """Attack in the block. After it, `file` has what the callers saw."""
    trainings = await attacked(api)
    async with callers(run.callers, target, file, trainings):
        looking = asyncio.create_task(_look(target, outcome))
        yield
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    for name, training in trainings.items():
        await api.post(f"/v1/trainings/{training}/cancel")
        outcome.rounds.setdefault(name, []).extend(await _rounds(api, training))


async def _look(server: Server, outcome: Outcome) -> None:
    """Check the server like an operator, with a new connection each time."""
    while True:
        began = time.monotonic()
        try:
            async with httpx2.AsyncClient(timeout=30.0, trust_env=False) as http:
                await http.get(f"{server.url}/healthz")
                outcome.health.append(time.monotonic() - began)
                key = {"Authorization": f"Bearer {server.key}"}
                beaten = await http.post(f"{server.url}/v1/clients/q-0/heartbeat", headers=key, json={})
            if beaten.status_code != HTTPStatus.NO_CONTENT:
                outcome.refused.append(beaten.status_code)
        except httpx2.TransportError:
            outcome.health.append(float("inf"))
        await asyncio.sleep(1.0)


async def _sample(server: Server, data: Path, outcome: Outcome) -> None:
    process = Path("/proc") / str(server.pid)
    while True:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        descriptors = sum(1 for _ in (process / "fd").iterdir())
        disk = await asyncio.to_thread(_bytes, data)
        outcome.samples.append(Sample(time.time(), int(status["RssAnon"].split()[0]) * 1024, disk, descriptors))
        await asyncio.sleep(LOOK_SECONDS)


def _bytes(data: Path) -> int:
    """Return the bytes of the spools. Files may be removed while they are counted."""
    total = 0
    for directory, _, names in os.walk(data / "spool"):
        for name in names:
            try:
                total += (Path(directory) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


async def _rounds(api: httpx2.AsyncClient, training: str) -> list[dict[str, Any]]:
    """Return all rounds of a training, oldest first."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": 100} | ({} if cursor is None else {"cursor": cursor})
        page = await call(api, "GET", f"/v1/trainings/{training}/rounds", params=query)
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found[::-1]


def _stop(server: Server) -> int:
    """Stop the server, by force if it does not react."""
    try:
        return server.stop()
    except subprocess.TimeoutExpired:
        server.kill()
        return -9
