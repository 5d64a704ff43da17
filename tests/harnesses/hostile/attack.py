"""One run: a calm time, the attack, a calm time again, and what was measured in each.

Four groups of clients share the server. `q-` is the fleet that only wants to train: its rounds are timed. `h-` are
agents that are hostile when they train, beside a few honest ones (`h-honest-…`) in one training; `e-` are hostile when
they evaluate; `m-` when they are asked for a first model; `p-` when they are probed.
"""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from benchmarks.beats import holds
from tests.e2e.servers import Server, call
from tests.harnesses.databases import new_database
from tests.harnesses.hostile.fleets import (
    FLOATS,
    QUIET,
    attacked,
    beat,
    callers,
    honest_fleet,
    hostile_agents,
    quiet_fleet,
    register,
    train,
)
from tests.harnesses.strategies import offer

LOOK_SECONDS = 0.25
MIB = 1 << 20
ENVIRONMENT = {
    "TCSFEEL_COORDINATOR__LEASE_SECONDS": "15",
    "TCSFEEL_HEALTH__INTERVAL_SECONDS": "2",
    "TCSFEEL_AGENTS__CONNECT_SECONDS": "2",
    "TCSFEEL_AGENTS__READ_SECONDS": "5",
    "TCSFEEL_AGENTS__POLL_SECONDS": "2",
    "TCSFEEL_LOG__FORMAT": "json",
    "TCSFEEL_MAX_BODY_BYTES": "24000000",  # so that two long bodies fill the room
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """How long (seconds), and which callers: names, or all."""

    calm: float = 20.0
    attack: float = 90.0
    callers: str = "all"


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment: unix seconds, bytes of anonymous memory, bytes of the model files and spools."""

    at: float
    memory: int
    disk: int
    descriptors: int


@dataclass(kw_only=True)
class Outcome:
    """What was seen. Instants are unix seconds.

    Attributes:
        attacked: from when to when the attack lasted.
        seen: what callers saw, by caller.
        rounds: of the attacked trainings, as the API shows them, by the training's name.
        quiet: the rounds of the quiet fleet, oldest first.
        health: seconds that `GET /healthz` took while the attack lasted.
        refused: statuses of heartbeats with a body, sent with the key, that should have been 204.
        gone: how the run found out that the server does not answer any more.
    """

    samples: list[Sample] = field(default_factory=list)
    attacked: tuple[float, float] = (0.0, 0.0)
    holds: list[float] = field(default_factory=list)
    seen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    quiet: list[dict[str, Any]] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    log: str = ""
    status: int = 0
    gone: str | None = None


class _Watched(Server):
    """The server with a watch on its loop."""

    @property
    def holds(self) -> Path:
        return self.log.with_name("holds")

    @property
    def command(self) -> list[str]:
        return ["-c", "from benchmarks.beats import main; main()", str(self.holds), str(self.port)]


async def attack(run: Run, directory: Path, database: str | None) -> Outcome:
    """Run the whole of it on one database."""
    outcome = Outcome()
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    path = offer(directory / "packages")
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(path), str(Path.cwd())])}
    async with new_database(database, directory / "database") as url:
        server = _Watched(directory, url, **environment)
        await server.start()
        try:
            async with server.api() as api, quiet_fleet(server), honest_fleet(server):
                await _run(run, server, api, outcome, directory)
        except (httpx.TransportError, OSError) as error:
            outcome.gone = f"{type(error).__name__}: {error}"
        finally:
            outcome.status = await asyncio.to_thread(_stop, server)
            outcome.log = server.log.read_text(errors="replace")
            samples = [
                f"{sample.at:.2f} {sample.memory} {sample.disk} {sample.descriptors}" for sample in outcome.samples
            ]
            server.log.with_name("samples").write_text("\n".join(samples))
    return outcome


async def _run(run: Run, server: _Watched, api: httpx.AsyncClient, outcome: Outcome, directory: Path) -> None:
    quiet = await train(api, "quiet", "q", QUIET, FLOATS, evaluation={"clients": 0}, max_rounds=1_000_000)
    watching = asyncio.create_task(_sample(server, directory / "data", outcome))
    try:
        await asyncio.sleep(run.calm)
        with hostile_agents(directory) as port:
            await register(api, port)
            trainings = await attacked(api)
            began = time.time()
            with callers(run.callers, server, directory, trainings) as seen:
                looking = asyncio.create_task(_look(server, outcome))
                beating = asyncio.create_task(beat(api))
                await asyncio.sleep(run.attack)
                for task in (looking, beating):
                    task.cancel()
                await asyncio.gather(looking, beating, return_exceptions=True)
            outcome.attacked = (began, time.time())
            outcome.seen = json.loads(seen.read_text()) if seen.exists() else {}
            for name, training in trainings.items():
                await api.post(f"/v1/trainings/{training}/cancel")
                outcome.rounds[name] = await _rounds(api, training)
        await asyncio.sleep(run.calm)
        await api.post(f"/v1/trainings/{quiet}/pause")
        outcome.quiet = await _rounds(api, quiet)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    outcome.holds = [hold.seconds for hold in holds(server.holds, *outcome.attacked)]


async def _look(server: Server, outcome: Outcome) -> None:
    """Look at the server as an operator does: with a new connection each time."""
    while True:
        began = time.monotonic()
        try:
            async with httpx.AsyncClient(timeout=30.0, trust_env=False) as http:
                await http.get(f"{server.url}/healthz")
                outcome.health.append(time.monotonic() - began)
                key = {"Authorization": f"Bearer {server.key}"}
                beaten = await http.post(f"{server.url}/v1/clients/q-0/heartbeat", headers=key, json={})
            if beaten.status_code != HTTPStatus.NO_CONTENT:
                outcome.refused.append(beaten.status_code)
        except httpx.TransportError:
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
    """Bytes of the spools. Files may vanish while they are counted."""
    total = 0
    for directory, _, names in os.walk(data / "spool"):
        for name in names:
            try:
                total += (Path(directory) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


async def _rounds(api: httpx.AsyncClient, training: str) -> list[dict[str, Any]]:
    """All rounds, oldest first."""
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
    """Stop the server, by force where it does not react."""
    try:
        return server.stop()
    except subprocess.TimeoutExpired:
        server.kill()
        return -9
