"""Tensors that stay on devices and tensors that never change, in the bytes on the wire, over real sockets."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hosting
from tcsfeel.wire.codec import decode
from tests.e2e.servers import PATIENCE, TAKEN_OVER_SOON, Server, call, free_port, server, unhandled

EMBEDDING = np.random.default_rng(7).standard_normal(5000).astype(np.float32)
GROUPS = {"local": ["bn.*"], "frozen": ["embedding"]}


class Device:
    """Adds one to the common weight, and draws a new scale of its own at each training, as a stand-in for learning."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.own = [self._draw()]
        self.given: list[tuple[str, float, bytes]] = []
        self.gate = threading.Event()
        self.gate.set()

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(4, np.float32), "bn.scale": self.own[0], "embedding": EMBEDDING}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self._note(parameters, task)
        assert self.gate.wait(30)
        self.own.append(self._draw())
        moved = {"w": parameters["w"] + 1, "bn.scale": self.own[-1], "embedding": parameters["embedding"]}
        return FitResult(moved, 10, 1.0, 0.5)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        self._note(parameters, task)
        return EvaluateResult(10, 1.0, 0.5)

    def profile(self) -> Profile:
        return Profile(data_size=10)

    def _draw(self) -> Any:
        return self._rng.standard_normal(32).astype(np.float32)

    def _note(self, parameters: Parameters, task: Task) -> None:
        assert parameters["embedding"].tobytes() == EMBEDDING.tobytes()
        self.given.append((task.id, float(parameters["w"][0]), parameters["bn.scale"].tobytes()))


class Tap:
    """Forwards connections to a port, and keeps every byte in both directions."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.to_agent, self.from_agent = bytearray(), bytearray()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agent, to_agent = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(_pump(reader, to_agent, self.to_agent), _pump(agent, writer, self.from_agent))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            kept += piece
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def device(plane: Server, name: str, trainer: Device) -> AsyncIterator[Tap]:
    """An agent of its own whose calls all go through the tap."""
    port = free_port()
    tap = Tap(port)
    async with await asyncio.start_server(tap, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with hosting({name: trainer}, server_url=plane.url, api_key=plane.key, port=port, advertise_url=url):
            yield tap


async def test_local_tensors_never_leave_and_frozen_ones_come_once(sqlite_url: str, tmp_path: Path) -> None:
    a, b, late = (Device(seed) for seed in range(3))
    async with (
        server(tmp_path, sqlite_url, **TAKEN_OVER_SOON) as plane,
        plane.api() as api,
        device(plane, "a", a) as tap_a,
        device(plane, "b", b) as tap_b,
    ):
        body = {
            "name": "personal",
            "selection": {"strategy": "random", "min_clients": 2, "max_clients": 3},
            "round_policy": {"quorum": 1.0},
            "parameters": GROUPS,
        }
        path = f"/v1/trainings/{(await call(api, 'POST', '/v1/trainings', json=body))['id']}"
        await _round(api, path)
        b.gate.clear()
        await call(api, "POST", f"{path}/rounds")
        await _until(api, path, 2, lambda round_: "received" in [part["status"] for part in round_["participations"]])
        plane.kill()
        await plane.start()
        b.gate.set()
        await _until(api, path, 2, lambda round_: round_["status"] == "completed")
        async with device(plane, "late", late) as tap_late:
            await _round(api, path)
        model = decode((await api.get(f"{path}/model")).content)[0]
    assert (set(model), model["w"].tolist()) == ({"w", "embedding"}, [3.0] * 4)
    assert model["embedding"].tobytes() == EMBEDDING.tobytes()

    taps = (tap_a, tap_b, tap_late)
    assert [tap.to_agent.count(EMBEDDING.tobytes()) for tap in taps] == [1, 1, 1]
    assert sum(tap.from_agent.count(EMBEDDING.tobytes()) for tap in taps) == 1, "in the first model"
    for trainer in (a, b, late):
        for own in trainer.own:
            beginning = own.tobytes()[:8]
            assert not any(beginning in tap.to_agent or beginning in tap.from_agent for tap in taps)
    assert late.given[0][1:] == (2.0, late.own[0].tobytes()), "the common weight, and its own scale"
    for trainer, trained in ((a, 3), (b, 3), (late, 1)):
        assert len(trainer.own) == trained + 1, "each task was trained once"
        fits = [own for task_id, _, own in trainer.given if task_id.endswith(".fit")]
        assert fits == [own.tobytes() for own in trainer.own[:-1]], "each goes on from its own"
    assert unhandled(plane.log) == []


async def _round(api: httpx2.AsyncClient, path: str) -> Any:
    """Run a round to its end."""
    round_ = await call(api, "POST", f"{path}/rounds", headers={"Prefer": "wait=30"})
    assert round_["status"] == "completed", round_["failure_reason"]
    return round_


async def _until(api: httpx2.AsyncClient, path: str, number: int, holds: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            round_ = (await call(api, "GET", f"{path}/rounds?limit=1"))["items"][0]
            if round_["number"] == number and holds(round_):
                return
            await asyncio.sleep(0.05)
