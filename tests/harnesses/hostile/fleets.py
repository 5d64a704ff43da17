"""Start the clients, the trainings and the attackers of a run. The good clients have enrolled, and sign."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from app.demo.leash import Child
from tcsfeel.agent import hosting
from tcsfeel.wire.codec import MEDIA_TYPE, encode
from tests.e2e.servers import Server
from tests.harnesses.hostile.calling import call
from tests.harnesses.hostile.enrolling import invite
from tests.harnesses.hostile.impostors import RELAY
from tests.harnesses.hostile.signing import HONEST_TOKEN
from tests.harnesses.strategies import strategy_name
from tests.harnesses.wide import WideLearner

QUIET = 6  # clients that only train
HONEST = 3  # honest clients among the hostile ones
BEAT_SECONDS = 2.5  # from one heartbeat of a client to the next: four times as often as agents of the library send them
HONEST_SECONDS = 1.0  # that they train for: many quick rounds of theirs would be the load of a training, and no attack
FLOATS = 250_000  # of the quiet model: 1 MB
SMALL = 1000  # floats of the attacked model: 4 kB


@dataclass(frozen=True, slots=True)
class Means:
    """What callers get for an attack.

    Attributes:
        keys: what they show as keys.
        honest: the port of honest agents.
        agents: the names of the hostile agents, for which they send heartbeats.
        file: where they write what they saw.
    """

    keys: Mapping[str, str]
    honest: int
    agents: Sequence[str]
    file: Path


async def train(api: httpx2.AsyncClient, name: str, group: str, clients: int, floats: int, **more: Any) -> str:
    """Start a training of a group with a model of `floats` floats. With 0, its clients are asked for a model."""
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


async def attacked(api: httpx2.AsyncClient) -> dict[str, str]:
    patient = {"deadline_seconds": 20, "quorum": 0.01, "grace_seconds": 8, "max_failed_rounds": 1000}
    return {
        "fit": await train(api, "fit", "h", 1, SMALL, round_policy=patient),
        "evaluate": await train(
            api, "evaluate", "e", 1, SMALL, evaluation={"clients": 100, "tags": {"group": "e"}}, round_policy=patient
        ),
        "model": await train(api, "model", "m", 1, 0),
        "signed": await train(api, "signed", "s", 1, SMALL, round_policy=patient),
    }


@asynccontextmanager
async def quiet_fleet(server: Server, directory: Path) -> AsyncIterator[None]:
    """Run the quiet fleet in a process of its own, so that the harness does not slow it down."""
    async with server.api() as api:
        invitation = await invite(api, QUIET, "q-*")
    child = Child(
        "quiet", "tests.harnesses.hostile.attackers:quiet", server.url, str(directory / "quiet"),
        log=directory / "quiet.log", environment=_environment(TCSFEEL_INVITATION=invitation),
    )  # fmt: skip
    try:
        async with server.api() as api:
            while len((await call(api, "GET", "/v1/clients"))["items"]) < QUIET:
                child.check()
                await asyncio.sleep(0.1)
        yield
    finally:
        child.let_go()
        await asyncio.to_thread(child.wait)


async def train_quietly(url: str, invitation: str, state: Path) -> None:
    """Run the quiet fleet until this task is cancelled."""
    fleet = {f"q-{number}": WideLearner(number, seconds=0.05, floats=FLOATS) for number in range(QUIET)}
    async with hosting(
        fleet, server_url=url, invite=invitation, state=state, heartbeat_seconds=BEAT_SECONDS, threads=QUIET
    ):
        await asyncio.Event().wait()


@asynccontextmanager
async def honest_fleet(server: Server, state: Path) -> AsyncIterator[int]:
    """Run honest agents among the hostile ones, and return their port."""
    fleet = {
        f"{group}-honest-{number}": WideLearner(number, seconds=HONEST_SECONDS, floats=SMALL)
        for group in ("h", "e", "s")
        for number in range(HONEST)
    }
    async with server.api() as api:
        invitation = await invite(api, len(fleet), "*-honest-*")
        async with hosting(
            fleet,
            server_url=server.url,
            invite=invitation,
            state=state,
            heartbeat_seconds=BEAT_SECONDS,
            threads=HONEST,
            tokens=dict.fromkeys(fleet, HONEST_TOKEN),
        ) as hosted:
            for client_id in fleet:
                await call(api, "PATCH", f"/v1/clients/{client_id}", json={"tags": {"group": client_id[0]}})
            yield int(hosted.url.rsplit(":", 1)[1])


async def register(api: httpx2.AsyncClient, port: int, honest: int, names: Iterable[str]) -> None:
    """Register hostile agents, which serve on a port. One of them passes its calls on to the `honest` port."""
    clients = [
        {
            "id": name,
            "url": f"http://127.0.0.1:{port}/{name}{f'/{honest}/agents/s-honest-0' if name == f's-{RELAY}' else ''}",
            "data_size": 10,
            "compute_capacity": 1.0,
            "bandwidth": 10.0,
            "latency": 10.0,
            "tags": {"group": name[0]},
            "auth_token": HONEST_TOKEN,
        }
        for name in names
    ]
    await call(api, "POST", "/v1/clients/batch", json={"clients": clients})


async def remove(api: httpx2.AsyncClient, names: Iterable[str]) -> None:
    """Remove hostile agents from the fleet, so that they are not even probed."""
    for name in names:
        await call(api, "DELETE", f"/v1/clients/{name}")


def _environment(**more: str) -> dict[str, str]:
    """Return the environment of this process, with a path from which the tests can be imported."""
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), **more}


@asynccontextmanager
async def hostile_agents(directory: Path) -> AsyncIterator[int]:
    """Run the hostile agents in the block, and return their port."""
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
            await asyncio.sleep(0.05)
        yield int(file.read_text())
    finally:
        child.let_go()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        await asyncio.to_thread(child.wait)


@asynccontextmanager
async def good_caller(server: Server, key: str, file: Path) -> AsyncIterator[None]:
    """Let a good caller call in the block. The file gets a line for each call: when it was made, and its seconds."""
    child = Child(
        "asking", "tests.harnesses.hostile.attackers:asking", server.url, str(file),
        log=file.with_suffix(".log"), environment=_environment(TCSFEEL_KEY=key),
    )  # fmt: skip
    try:
        while not file.exists():  # noqa: ASYNC240  (a look at a name)
            child.check()
            await asyncio.sleep(0.05)
        yield
    finally:
        child.let_go()
        await asyncio.to_thread(child.wait)


@asynccontextmanager
async def callers(
    names: Iterable[str], server: Server, means: Means, trainings: Mapping[str, str]
) -> AsyncIterator[None]:
    """Let callers attack in the block. After it, the file has what they saw."""
    child = Child(
        "callers", "tests.harnesses.hostile.attackers:callers", "127.0.0.1", str(server.port), str(means.file),
        ",".join(names), str(means.honest), ",".join(means.agents), *trainings.values(),
        log=means.file.with_suffix(".log"),
        environment=_environment(TCSFEEL_KEYS=json.dumps(dict(means.keys))),
    )  # fmt: skip
    try:
        yield
    finally:
        child.let_go()
        await asyncio.to_thread(child.wait)
