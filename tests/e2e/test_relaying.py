"""Updates that travel over a relay tree between real agents, while relays and the server are killed."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tcsfeel.wire.codec import decode
from tests.e2e.servers import PATIENCE, TAKEN_OVER_SOON, Server, call, server, started, unhandled

STEPS = {"relay": 1.0, "left": 2.0, "right": 3.0, "alone": 5.0}
EXAMPLES = {"relay": 10, "left": 20, "right": 30, "alone": 40}
# (10 * 1 + 20 * 2 + 30 * 3 + 40 * 5) / 100, and without the relay (40 + 90 + 200) / 90
MEAN, WITHOUT = 3.4, 330 / 90

DEVICE = """
import os, pathlib, time
import numpy as np
from tcsfeel.agent import EvaluateResult, FitResult, Profile

DIRECTORY = pathlib.Path(os.environ["DIRECTORY"])

class Device:
    step, examples, name = float(os.environ["STEP"]), int(os.environ["EXAMPLES"]), os.environ["NAME"]
    def initial_parameters(self): return {"w": np.zeros(50_000, np.float32)}
    def profile(self): return Profile(data_size=self.examples, bandwidth=1.0 if self.name != "relay" else 50.0)
    def evaluate(self, parameters, task): return EvaluateResult(self.examples, 1.0, 0.5)
    def fit(self, parameters, task):
        with open(DIRECTORY / "fits", "a") as log: log.write(f"{self.name} {task.id}\\n")
        while (DIRECTORY / f"hold-{self.name}").exists(): time.sleep(0.02)
        return FitResult({"w": parameters["w"] + np.float32(self.step)}, self.examples, 1.0, 0.5)
"""


class Devices:
    """Agents, each a process of its own."""

    def __init__(self, directory: Path, plane: Server) -> None:
        self.directory = directory
        self._plane = plane
        self._running: dict[str, ForkServerProcess] = {}
        (directory / "device.py").write_text(DEVICE)

    def start(self, name: str) -> None:
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(self.directory), "DIRECTORY": str(self.directory),
            "STEP": str(STEPS[name]), "EXAMPLES": str(EXAMPLES[name]), "NAME": name, "TCSFEEL_KEY": self._plane.key,
        }  # fmt: skip
        command = ["agent", "device:Device", "--id", name, "--server", self._plane.url, "--relay"]
        self._running[name] = started(self.directory / f"{name}.log", environment, *command)

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.join(PATIENCE)

    def hold(self, name: str) -> None:
        (self.directory / f"hold-{name}").touch()

    def let_go(self, name: str) -> None:
        (self.directory / f"hold-{name}").unlink()

    def fits(self, name: str) -> int:
        """How often the trainer of a device was called."""
        with contextlib.suppress(FileNotFoundError):
            return sum(line.startswith(f"{name} ") for line in (self.directory / "fits").read_text().splitlines())
        return 0

    def stop(self) -> None:
        for name in list(self._running):
            self.kill(name)


@asynccontextmanager
async def grove(directory: Path, database_url: str) -> AsyncIterator[tuple[Server, httpx2.AsyncClient, Devices]]:
    """A server with four devices, of which two have cheap links to a third."""
    async with server(directory, database_url, **TAKEN_OVER_SOON) as plane, plane.api() as api:
        devices = Devices(directory, plane)
        try:
            for name in STEPS:
                devices.start(name)
            await until(lambda: _count(api, len(STEPS)))
            edges = [{"source": "relay", "target": name, "cost": 0.001} for name in ("left", "right")]
            await call(api, "PUT", "/v1/connectivity", json={"edges": edges})
            yield plane, api, devices
        finally:
            devices.stop()


async def test_updates_travel_over_a_relay(database_url: str, tmp_path: Path) -> None:
    async with grove(tmp_path, database_url) as (plane, api, devices):
        path = await training(api)
        found = await ended(api, path)
        parts = {part["client_id"]: part for part in found["participations"]}

        assert found["plan"]["parents"] == {"relay": None, "left": "relay", "right": "relay", "alone": None}
        assert {name: part["relay"] for name, part in parts.items()} == found["plan"]["parents"]
        assert {part["status"] for part in parts.values()} == {"received"}
        assert (parts["left"]["bytes_sent"], parts["left"]["bytes_received"]) == (0, 0)
        assert await weight(api, path) == pytest.approx(MEAN, rel=1e-6)
        assert [devices.fits(name) for name in STEPS] == [1, 1, 1, 1]
        assert unhandled(plane.log) == []


async def test_a_relay_that_is_killed_in_a_round_leaves_its_children_to_the_server(
    database_url: str, tmp_path: Path
) -> None:
    async with grove(tmp_path, database_url) as (plane, api, devices):
        devices.hold("relay")
        path = await training(api, quorum=0.75)
        await until(lambda: _true(devices.fits("relay") and devices.fits("left") and devices.fits("right")))
        devices.kill("relay")
        found = await ended(api, path)
        parts = {part["client_id"]: part for part in found["participations"]}

        assert {name: part["status"] for name, part in parts.items()} == {
            "relay": "failed", "left": "received", "right": "received", "alone": "received",
        }  # fmt: skip
        assert {part["relay"] for part in parts.values()} == {None}
        assert await weight(api, path) == pytest.approx(WITHOUT, rel=1e-6)
        assert (devices.fits("left"), devices.fits("right")) == (1, 1), "they trained twice"
        events = (await call(api, "GET", "/v1/events?type=participation.rerouted"))["items"]
        assert {event["client_id"] for event in events} == {"left", "right"}
        assert unhandled(plane.log) == []


async def test_a_child_that_is_killed_in_a_round_costs_only_its_own_update(database_url: str, tmp_path: Path) -> None:
    async with grove(tmp_path, database_url) as (plane, api, devices):
        devices.hold("left")
        path = await training(api, quorum=0.75)
        await until(lambda: _true(devices.fits("left")))
        devices.kill("left")
        found = await ended(api, path)
        parts = {part["client_id"]: part for part in found["participations"]}

        assert {name: part["status"] for name, part in parts.items()} == {
            "relay": "received", "left": "failed", "right": "received", "alone": "received",
        }  # fmt: skip
        assert parts["right"]["relay"] == "relay"
        assert await weight(api, path) == pytest.approx((10 + 90 + 200) / 80, rel=1e-6)
        assert unhandled(plane.log) == []


@pytest.mark.parametrize("held", ["relay", "left"])
async def test_a_server_that_is_killed_in_a_round_takes_the_mean_afterwards(
    held: str, database_url: str, tmp_path: Path
) -> None:
    async with grove(tmp_path, database_url) as (plane, api, devices):
        devices.hold(held)
        path = await training(api)
        await until(lambda: _true(all(devices.fits(name) for name in STEPS)))
        plane.kill()
        devices.let_go(held)
        await plane.start()
        found = await ended(api, path)
        parts = {part["client_id"]: part for part in found["participations"]}

        assert {part["status"] for part in parts.values()} == {"received"}
        assert {name: part["relay"] for name, part in parts.items()} == found["plan"]["parents"]
        assert parts["left"]["relay"] == "relay"
        assert await weight(api, path) == pytest.approx(MEAN, rel=1e-6)
        assert [devices.fits(name) for name in STEPS] == [1, 1, 1, 1], "somebody trained twice"
        assert unhandled(plane.log) == []


async def training(api: httpx2.AsyncClient, quorum: float = 1.0) -> str:
    """Start a training of one round over relays, and return its path."""
    body = {
        "name": "relays",
        "topology": "relay",
        "max_rounds": 1,
        "selection": {"strategy": "random", "min_clients": 4, "max_clients": 4},
        "evaluation": {"clients": 0},
        "round_policy": {"quorum": quorum, "grace_seconds": 60, "deadline_seconds": 60},
    }
    path = f"/v1/trainings/{(await call(api, 'POST', '/v1/trainings', json=body))['id']}"
    await call(api, "POST", f"{path}/start")
    return path


async def ended(api: httpx2.AsyncClient, path: str) -> Any:
    """Return the round once its training has ended."""

    async def over() -> bool:
        return (await call(api, "GET", path))["status"] not in {"created", "running"}

    await until(over)
    found = await call(api, "GET", f"{path}/rounds/1")
    assert found["status"] == "completed", found
    return found


async def weight(api: httpx2.AsyncClient, path: str) -> float:
    """Return the first value of the new model."""
    response = await api.get(f"{path}/model")
    return float(decode(response.content)[0]["w"][0])


async def _count(api: httpx2.AsyncClient, count: int) -> bool:
    clients = (await call(api, "GET", "/v1/clients"))["items"]
    return len(clients) == count and all(client["status"] == "healthy" for client in clients)


async def _true(value: object) -> bool:
    return bool(value)


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110  (the condition is in other processes, which ring no bell)
            await asyncio.sleep(0.1)
