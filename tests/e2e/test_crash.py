"""``kill -9`` in the middle of a round, and a start after it: nothing is lost, nothing is done twice."""

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hosting
from tests.e2e.servers import PATIENCE, TAKEN_OVER_SOON, call, server, unhandled

ROUNDS = 4
CLIENTS = 4
KILLED_ROUNDS = {2, 3}


class GatedTrainer:
    """Adds one; in the rounds that have a gate it waits for that to open, so that a kill finds it at work."""

    def __init__(self, gates: Mapping[int, threading.Event]) -> None:
        self._gates = gates
        self.fitted: Counter[str] = Counter()
        self.evaluated: Counter[str] = Counter()

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(2, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.fitted[task.id] += 1
        if task.round in self._gates:
            assert self._gates[task.round].wait(PATIENCE)
        return FitResult({"w": parameters["w"] + 1}, 10, 1.0, 0.5)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        self.evaluated[task.id] += 1
        return EvaluateResult(10, 1.0, float(parameters["w"][0]) / 100)

    def profile(self) -> Profile:
        return Profile(data_size=10)


async def test_a_killed_server_finishes_its_rounds_after_a_restart(database_url: str, tmp_path: Path) -> None:
    gates = {number: threading.Event() for number in KILLED_ROUNDS}
    trainers = {f"client-{index}": GatedTrainer(gates if index % 2 else {}) for index in range(CLIENTS)}
    async with server(tmp_path, database_url, **TAKEN_OVER_SOON) as plane, plane.api() as api:
        # Those that wait at their gates must not keep the others from training.
        async with hosting(trainers, server_url=plane.url, api_key=plane.key, threads=CLIENTS):
            body = {
                "name": "crash",
                "max_rounds": ROUNDS,
                "target_accuracy": 1.0,
                "selection": {"strategy": "random", "min_clients": CLIENTS, "max_clients": CLIENTS},
                "round_policy": {"quorum": 1.0},
            }
            training = await call(api, "POST", "/v1/trainings", json=body)
            path = f"/v1/trainings/{training['id']}"
            await call(api, "POST", f"{path}/start")
            for number in sorted(KILLED_ROUNDS):
                await _half_way(api, path, number)
                plane.kill()
                await plane.start()
                gates[number].set()
            training = await _ended(api, path)

            assert (training["status"], training["stop_reason"]) == ("completed", "max_rounds")
            rounds = (await call(api, "GET", f"{path}/rounds"))["items"]
            assert [item["number"] for item in rounds] == list(range(ROUNDS, 0, -1))
            assert {item["status"] for item in rounds} == {"completed"}
            parts = [part for item in rounds for part in item["participations"]]
            assert [part["status"] for part in parts] == ["received"] * (ROUNDS * CLIENTS)
            assert [item["average_accuracy"] for item in rounds] == [number / 100 for number in range(ROUNDS, 0, -1)]
            for trainer in trainers.values():
                assert len(trainer.fitted) == ROUNDS
                assert set(trainer.fitted.values()) == {1}, "a task was trained twice"
        assert unhandled(plane.log) == []


async def test_a_stopped_server_gives_its_training_to_the_next(sqlite_url: str, tmp_path: Path) -> None:
    gates = {1: threading.Event()}
    trainers = {"only": GatedTrainer(gates)}
    async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
        async with hosting(trainers, server_url=plane.url, api_key=plane.key):
            body = {"name": "stop", "max_rounds": 1, "selection": {"min_clients": 1, "max_clients": 1}}
            training = await call(api, "POST", "/v1/trainings", json=body)
            path = f"/v1/trainings/{training['id']}"
            await call(api, "POST", f"{path}/start")
            await _until(lambda: _fitted(trainers["only"]))
            plane.stop()
            assert " stopped " in plane.log.read_text(), "it did not come to an orderly end"
            await plane.start()
            gates[1].set()
            training = await _ended(api, path)

        assert training["status"] == "completed"
        assert set(trainers["only"].fitted.values()) == {1}
        assert unhandled(plane.log) == []


async def _half_way(api: httpx2.AsyncClient, path: str, number: int) -> None:
    """Half of the updates of the round have come in, and the other half wait for the gate."""

    async def some_received() -> bool:
        items = (await call(api, "GET", f"{path}/rounds"))["items"]
        parts = [part["status"] for item in items if item["number"] == number for part in item["participations"]]
        return parts.count("received") == CLIENTS // 2

    await _until(some_received)


async def _fitted(trainer: GatedTrainer) -> bool:
    return bool(trainer.fitted)


async def _ended(api: httpx2.AsyncClient, path: str) -> Any:
    async def over() -> bool:
        return (await call(api, "GET", path))["status"] not in {"created", "running"}

    await _until(over)
    return await call(api, "GET", path)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110  (the condition is in another process, which rings no bell)
            await asyncio.sleep(0.1)
