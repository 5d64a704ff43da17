"""One run: a calm time, the attack, a calm time again, and what was measured in each.

Four groups of clients share the server. `q-` is the fleet that only wants to train: its rounds are timed. `h-` are
agents that are hostile when they train, beside a few honest ones (`h-honest-…`) in one training; `e-` are hostile when
they evaluate; `m-` when they are asked for a first model; `p-` when they are probed.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.agent import hosting
from app.demo.leash import Child
from app.wire.codec import MEDIA_TYPE, encode
from tests.e2e.servers import Server, call
from tests.harnesses.databases import new_database
from tests.harnesses.hostile import agents
from tests.harnesses.hostile.watched import holds
from tests.harnesses.strategies import offer, strategy_name
from tests.harnesses.wide import WideLearner

QUIET = 6  # clients that only want to train
HONEST = 3  # among the hostile ones
FLOATS = 250_000  # of the quiet model: 1 MB
SMALL = 1000  # floats of the attacked model: 4 kB
LOOK_SECONDS = 0.25
MIB = 1 << 20
ENVIRONMENT = {
    "TCSFEEL_COORDINATOR__LEASE_SECONDS": "15",
    "TCSFEEL_HEALTH__INTERVAL_SECONDS": "2",
    "TCSFEEL_AGENTS__CONNECT_SECONDS": "2",
    "TCSFEEL_AGENTS__READ_SECONDS": "5",
    "TCSFEEL_AGENTS__POLL_SECONDS": "2",
    "TCSFEEL_LOG__FORMAT": "json",
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
    """

    samples: list[Sample] = field(default_factory=list)
    attacked: tuple[float, float] = (0.0, 0.0)
    holds: list[float] = field(default_factory=list)
    seen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    quiet: list[dict[str, Any]] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    log: str = ""
    status: int = 0


class _Watched(Server):
    """The server with a watch on its loop."""

    @property
    def holds(self) -> Path:
        return self.log.with_name("holds")

    @property
    def command(self) -> list[str]:
        return ["-c", "from tests.harnesses.hostile.watched import main; main()", str(self.holds), str(self.port)]


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
            async with server.api() as api, _quiet_fleet(server), _honest_fleet(server):
                await _run(run, server, api, outcome, directory)
        finally:
            outcome.status = await asyncio.to_thread(server.stop)
            outcome.log = server.log.read_text(errors="replace")
    return outcome


async def _run(run: Run, server: _Watched, api: httpx.AsyncClient, outcome: Outcome, directory: Path) -> None:
    quiet = await _train(api, "quiet", "q", QUIET, FLOATS, evaluation={"clients": 0}, max_rounds=1_000_000)
    watching = asyncio.create_task(_sample(server, directory / "data", outcome))
    try:
        await asyncio.sleep(run.calm)
        with _hostile_agents(directory) as port:
            await _register(api, port)
            trainings = await _attacked(api)
            began = time.time()
            with _callers(run, server, directory, trainings) as seen:
                looking = asyncio.create_task(_look(server, outcome))
                beating = asyncio.create_task(_beat(api))
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
    outcome.holds = holds(server.holds, *outcome.attacked)


async def _train(api: httpx.AsyncClient, name: str, group: str, clients: int, floats: int, **more: Any) -> str:
    """Start a training of one group, with a model of so many floats (0: its clients are asked for one)."""
    body = {
        "name": name,
        "target_accuracy": 1.0,
        "max_rounds": 1000,
        "selection": {"strategy": strategy_name(group), "min_clients": clients, "max_clients": 100},
        "evaluation": {"clients": 0},
        "round_policy": {"deadline_seconds": 12, "quorum": 0.01, "grace_seconds": 3, "max_failed_rounds": 1000},
    } | more
    training = (await call(api, "POST", "/v1/trainings", json=body))["id"]
    if floats:
        model = encode({"w": np.linspace(-1, 1, floats, dtype=np.float32), "b": np.zeros(3, np.float32)})
        await call(api, "PUT", f"/v1/trainings/{training}/model", content=model, headers={"Content-Type": MEDIA_TYPE})
    await call(api, "POST", f"/v1/trainings/{training}/start")
    return str(training)


async def _attacked(api: httpx.AsyncClient) -> dict[str, str]:
    patient = {"deadline_seconds": 20, "quorum": 0.01, "grace_seconds": 8, "max_failed_rounds": 1000}
    return {
        "fit": await _train(api, "fit", "h", 1, SMALL, round_policy=patient),
        "evaluate": await _train(
            api, "evaluate", "e", 1, SMALL, evaluation={"clients": 100, "tags": {"group": "e"}}, round_policy=patient
        ),
        "model": await _train(api, "model", "m", 1, 0),
    }


@asynccontextmanager
async def _quiet_fleet(server: Server) -> AsyncIterator[None]:
    fleet = {f"q-{number}": WideLearner(number, seconds=0.05, floats=FLOATS) for number in range(QUIET)}
    async with hosting(fleet, server_url=server.url, api_key=server.key, heartbeat_seconds=1.0, threads=QUIET):
        yield


@asynccontextmanager
async def _honest_fleet(server: Server) -> AsyncIterator[None]:
    fleet = {
        f"{group}-honest-{number}": WideLearner(number, seconds=0.02, floats=SMALL)
        for group in ("h", "e")
        for number in range(HONEST)
    }
    async with hosting(fleet, server_url=server.url, api_key=server.key, heartbeat_seconds=1.0, threads=HONEST):
        for client_id in fleet:
            async with server.api() as api:
                await call(api, "PATCH", f"/v1/clients/{client_id}", json={"tags": {"group": client_id[0]}})
        yield


async def _register(api: httpx.AsyncClient, port: int) -> None:
    clients = [
        {
            "id": name,
            "url": f"http://127.0.0.1:{port}/{name}",
            "data_size": 10,
            "compute_capacity": 1.0,
            "bandwidth": 10.0,
            "latency": 10.0,
            "tags": {"group": name[0]},
        }
        for name in agents.ALL
    ]
    await call(api, "POST", "/v1/clients/batch", json={"clients": clients})


async def _beat(api: httpx.AsyncClient) -> None:
    """Send heartbeats for the hostile agents, but for those that are hostile to probes."""
    while True:
        for name in agents.ALL:
            if not name.startswith("p-"):
                await api.post(f"/v1/clients/{name}/heartbeat")
        await asyncio.sleep(1.0)


async def _look(server: Server, outcome: Outcome) -> None:
    """Look at the server as an operator does: with a new connection each time."""
    while True:
        began = time.monotonic()
        try:
            async with httpx.AsyncClient(timeout=30.0, trust_env=False) as http:
                await http.get(f"{server.url}/healthz")
            outcome.health.append(time.monotonic() - began)
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


@contextmanager
def _hostile_agents(directory: Path) -> Iterator[int]:
    file = directory / "port"
    child = Child(
        "agents",
        "tests.harnesses.hostile.attackers:agents",
        str(file),
        log=directory / "agents.log",
        environment=dict(os.environ),
    )
    try:
        while not (file.exists() and file.read_text()):
            child.check()
            time.sleep(0.05)
        yield int(file.read_text())
    finally:
        child.let_go()
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def _callers(run: Run, server: Server, directory: Path, trainings: Mapping[str, str]) -> Iterator[Path]:
    """Inside the block callers attack; behind it the file holds what they saw."""
    file = directory / "seen.json"
    child = Child(
        "callers", "tests.harnesses.hostile.attackers:callers", "127.0.0.1", str(server.port), str(file), run.callers,
        *trainings.values(), log=directory / "callers.log", environment={**os.environ, "TCSFEEL_KEY": server.key},
    )  # fmt: skip
    try:
        yield file
    finally:
        child.let_go()
        child.wait()


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
