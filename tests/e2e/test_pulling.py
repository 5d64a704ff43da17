"""Devices that cannot be called: they enrol, ask for their tasks over real sockets, and train."""

import asyncio
import signal
import threading
from collections import Counter
from pathlib import Path

from examples import minimal_trainer
from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hosting
from tests.e2e.servers import TAKEN_OVER_SOON, call, server, unhandled
from tests.tcsfeel.agent.fakes import eventually

BODY = {"name": "digits", "selection": {"strategy": "random", "min_clients": 3, "max_clients": 3}}


class Waiting:
    """A trainer that waits in its first fit until it is let go, and counts its fits."""

    def __init__(self, seed: int) -> None:
        self._trainer = minimal_trainer.trainer(seed=seed)
        self.fits: Counter[str] = Counter()
        self.started, self.gate = threading.Event(), threading.Event()

    def initial_parameters(self) -> Parameters:
        return self._trainer.initial_parameters()

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.fits[task.id] += 1
        self.started.set()
        assert self.gate.wait(60)
        return self._trainer.fit(parameters, task)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        return self._trainer.evaluate(parameters, task)

    def profile(self) -> Profile:
        return self._trainer.profile()


async def test_devices_that_pull_train_once_although_the_server_is_killed(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {f"edge-{seed}": Waiting(seed) for seed in range(3)}
    async with server(tmp_path, sqlite_url, **TAKEN_OVER_SOON) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 3})
        async with hosting(
            trainers, server_url=plane.url, invite=made["secret"], state=tmp_path / "state", pull=True, threads=3
        ) as hosted:
            assert hosted.url == ""
            listed = await call(api, "GET", "/v1/clients")
            assert [(client["url"], client["unproven"]) for client in listed["items"]] == [(None, None)] * 3
            training = await call(api, "POST", "/v1/trainings", json=BODY | {"max_rounds": 1})
            path = f"/v1/trainings/{training['id']}"
            await call(api, "POST", f"{path}/start")
            await eventually(lambda: all(trainer.started.is_set() for trainer in trainers.values()))
            plane.kill()
            for trainer in trainers.values():
                trainer.gate.set()
            await plane.start()  # agents that could not deliver come back
            async with asyncio.timeout(60):
                while (await call(api, "GET", path))["status"] == "running":  # noqa: ASYNC110  (of another process)
                    await asyncio.sleep(0.1)
            found = await call(api, "GET", f"{path}/rounds/1")
            assert {part["status"] for part in found["participations"]} == {"received"}, found
            assert {one["status"] for one in found["evaluations"]} == {"received"}, found
            assert all(part["evidence"]["answer"].startswith('"@method": PUT') for part in found["participations"])
            assert [list(trainer.fits.values()) for trainer in trainers.values()] == [[1], [1], [1]]
            counted = (await api.get("/metrics")).text
            assert 'federated_tasks_handed_over_total{channel="pull"}' in counted
            stopped = asyncio.to_thread(plane.stop)
            assert await asyncio.wait_for(stopped, 20) == -signal.SIGTERM  # although agents wait
    assert unhandled(plane.log) == []
