"""Run calm times and attacks in turn, and measure each of them.

Several groups of clients share the server. `q-` is the quiet fleet, which only trains, and whose rounds are timed. `h-`
are agents that are hostile when they train, together with a few honest ones (`h-honest-…`) in one training. `e-` are
hostile when they evaluate, `m-` when they are asked for a first model, and `p-` when they are probed. `s-` are devices
with keys whose signatures are wrong, and again a few honest ones.

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
from tests.harnesses.hostile.afterwards import PAGE, emptied, items, spooled, unexplained
from tests.harnesses.hostile.enrolling import bad_keys, enrol_hostile, seed_of
from tests.harnesses.hostile.fleets import (
    FLOATS,
    QUIET,
    Means,
    attacked,
    callers,
    good_caller,
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
EXPLAINED = {"fit", "evaluate", "signed"}  # the attacked trainings whose models have to be those of honest agents
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
    """A server whose event loop is watched. `honest` is the port of its honest agents."""

    core: int | None = None
    honest: int = 0

    @property
    def data(self) -> Path:
        return self.log.with_name("data")

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
            target.honest = await stack.enter_async_context(honest_fleet(target, directory / "honest"))
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
    asked = directory / "asked"
    async with server.api() as api, target.api() as attacked_api:
        quiet = await train(api, "quiet", "q", QUIET, FLOATS, evaluation={"clients": 0}, max_rounds=1_000_000)
        viewer = await call(api, "POST", "/v1/keys", json={"name": "a good caller", "role": "viewer"})
        watching = asyncio.create_task(_sample(server, outcome))
        try:
            async with good_caller(server, viewer["key"], asked), hostile_agents(directory) as port:
                await _in_turn(run, server, target, port, outcome)
            await api.post(f"/v1/trainings/{quiet}/pause")
            outcome.quiet = await _rounds(api, quiet)
            await api.post(f"/v1/trainings/{quiet}/cancel")  # which ends the open round, with what was received in it
            outcome.left = await emptied(server.data) + await emptied(target.data)
            outcome.audit = await items(attacked_api, "/v1/audit", limit=PAGE)
        finally:
            watching.cancel()
            await asyncio.wait([watching])
    outcome.asked = [(float(at), float(seconds)) for at, seconds in map(str.split, asked.read_text().splitlines())]
    hostile = [period for period in outcome.periods if period.hostile]
    outcome.holds = sorted(
        (hold.seconds for period in hostile for hold in holds(server.holds, period.start, period.end)), reverse=True
    )


async def _in_turn(run: Run, server: _Watched, target: _Watched, port: int, outcome: Outcome) -> None:
    """Let calm times and attacks take turns. The hostile agents serve on a port."""
    await asyncio.sleep(REST_SECONDS)
    async with target.api() as api:
        for number in range(run.periods):
            async with _measured(server, outcome, hostile=False):
                await asyncio.sleep(run.calm)
            of_agents = await enrol_hostile(api, number)
            await register(api, port, target.honest)
            keys = await bad_keys(api, of_agents, number) | {"seed of the server": seed_of(target, target.data)}
            seen = server.log.with_name(f"seen-{number}.json")
            async with (
                _attacked(api, run, target, outcome, Means(keys, target.honest, seen)),
                _measured(server, outcome, hostile=True),
            ):
                await asyncio.sleep(run.attack / run.periods)
            outcome.note(seen)
            outcome.clients += await items(api, "/v1/clients", limit=PAGE)
            await remove(api)
            await asyncio.sleep(REST_SECONDS)
        async with _measured(server, outcome, hostile=False):
            await asyncio.sleep(run.calm)


@asynccontextmanager
async def _measured(server: _Watched, outcome: Outcome, *, hostile: bool) -> AsyncIterator[None]:
    start, processor = time.time(), server.processor()
    yield
    period = Period(hostile, start, time.time(), server.processor() - processor, placement.load())
    outcome.periods.append(period)


@asynccontextmanager
async def _attacked(
    api: httpx2.AsyncClient, run: Run, target: Server, outcome: Outcome, means: Means
) -> AsyncIterator[None]:
    """Attack in the block. After it, the file has what the callers saw."""
    trainings = await attacked(api)
    async with callers(run.callers, target, means, trainings):
        looking = asyncio.create_task(_look(target, outcome))
        yield
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    for name, training in trainings.items():
        await api.post(f"/v1/trainings/{training}/cancel")
        rounds = await _rounds(api, training)
        outcome.rounds.setdefault(name, []).extend(rounds)
        if name in EXPLAINED:
            outcome.unexplained += await unexplained(api, name, training, rounds)


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


async def _sample(server: _Watched, outcome: Outcome) -> None:
    process = Path("/proc") / str(server.pid)
    while True:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        descriptors = sum(1 for _ in (process / "fd").iterdir())
        disk = await asyncio.to_thread(spooled, server.data)
        outcome.samples.append(Sample(time.time(), int(status["RssAnon"].split()[0]) * 1024, disk, descriptors))
        await asyncio.sleep(LOOK_SECONDS)


async def _rounds(api: httpx2.AsyncClient, training: str) -> list[dict[str, Any]]:
    """Return all rounds of a training, oldest first."""
    return (await items(api, f"/v1/trainings/{training}/rounds", limit=100))[::-1]


def _stop(server: Server) -> int:
    """Stop the server, by force if it does not react."""
    try:
        return server.stop()
    except subprocess.TimeoutExpired:
        server.kill()
        return -9
