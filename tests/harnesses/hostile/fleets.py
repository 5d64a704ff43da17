"""The clients and the trainings of a run, and its attackers."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.demo.leash import Child
from tcsfeel.agent import hosting
from tcsfeel.wire.codec import MEDIA_TYPE, encode
from tests.e2e.servers import Server, call
from tests.harnesses.hostile import agents
from tests.harnesses.strategies import strategy_name
from tests.harnesses.wide import WideLearner

QUIET = 6  # clients that only want to train
HONEST = 3  # among the hostile ones
FLOATS = 250_000  # of the quiet model: 1 MB
SMALL = 1000  # floats of the attacked model: 4 kB


async def train(api: httpx.AsyncClient, name: str, group: str, clients: int, floats: int, **more: Any) -> str:
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


async def attacked(api: httpx.AsyncClient) -> dict[str, str]:
    patient = {"deadline_seconds": 20, "quorum": 0.01, "grace_seconds": 8, "max_failed_rounds": 1000}
    return {
        "fit": await train(api, "fit", "h", 1, SMALL, round_policy=patient),
        "evaluate": await train(
            api, "evaluate", "e", 1, SMALL, evaluation={"clients": 100, "tags": {"group": "e"}}, round_policy=patient
        ),
        "model": await train(api, "model", "m", 1, 0),
    }


@asynccontextmanager
async def quiet_fleet(server: Server) -> AsyncIterator[None]:
    fleet = {f"q-{number}": WideLearner(number, seconds=0.05, floats=FLOATS) for number in range(QUIET)}
    async with hosting(fleet, server_url=server.url, api_key=server.key, heartbeat_seconds=1.0, threads=QUIET):
        yield


@asynccontextmanager
async def honest_fleet(server: Server) -> AsyncIterator[None]:
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


async def register(api: httpx.AsyncClient, port: int) -> None:
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


async def beat(api: httpx.AsyncClient) -> None:
    """Send heartbeats for the hostile agents, but for those that are hostile to probes."""
    while True:
        for name in agents.ALL:
            if not name.startswith("p-"):
                await api.post(f"/v1/clients/{name}/heartbeat")
        await asyncio.sleep(1.0)


def _environment(**more: str) -> dict[str, str]:
    """That of this process, in which the tests can be imported."""
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), **more}


@contextmanager
def hostile_agents(directory: Path) -> Iterator[int]:
    file = directory / "port"
    child = Child(
        "agents",
        "tests.harnesses.hostile.attackers:agents",
        str(file),
        log=directory / "agents.log",
        environment=_environment(),
    )
    try:
        while not (file.exists() and file.read_text()):
            child.check()
            time.sleep(0.05)
        yield int(file.read_text())
    finally:
        child.let_go()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def callers(names: str, server: Server, directory: Path, trainings: Mapping[str, str]) -> Iterator[Path]:
    """Inside the block callers attack; behind it the file holds what they saw."""
    file = directory / "seen.json"
    child = Child(
        "callers", "tests.harnesses.hostile.attackers:callers", "127.0.0.1", str(server.port), str(file), names,
        *trainings.values(), log=directory / "callers.log", environment=_environment(TCSFEEL_KEY=server.key),
    )  # fmt: skip
    try:
        yield file
    finally:
        child.let_go()
        child.wait()
