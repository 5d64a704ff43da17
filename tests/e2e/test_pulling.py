"""Devices that nobody can call: they enrol, ask for their tasks over real sockets, and train."""

import asyncio
import signal
from pathlib import Path

from examples import minimal_trainer
from tcsfeel.agent import hosting
from tests.e2e.servers import call, server, unhandled

BODY = {"name": "digits", "selection": {"strategy": "random", "min_clients": 3, "max_clients": 3}}


async def test_devices_that_pull_train_and_evaluate_with_signatures(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {f"edge-{seed}": minimal_trainer.trainer(seed=seed) for seed in range(3)}
    state = tmp_path / "state"
    async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 3})
        async with hosting(trainers, server_url=plane.url, invite=made["secret"], state=state, pull=True) as hosted:
            assert hosted.url == ""
            listed = await call(api, "GET", "/v1/clients")
            assert [(client["url"], client["unproven"]) for client in listed["items"]] == [(None, None)] * 3
            training = await call(api, "POST", "/v1/trainings", json=BODY)
            path = f"/v1/trainings/{training['id']}/rounds"
            first = await call(api, "POST", path, headers={"Prefer": "wait=30"})
            assert {part["status"] for part in first["participations"]} == {"received"}, first
            assert {one["status"] for one in first["evaluations"]} == {"received"}, first
            assert first["average_accuracy"] is not None
            assert all(part["evidence"]["answer"].startswith('"@method": PUT') for part in first["participations"])
            plane.kill()
            await plane.start()  # agents that wait come back
            second = await call(api, "POST", path, headers={"Prefer": "wait=30"})
            assert {part["status"] for part in second["participations"]} == {"received"}, second
            counted = (await api.get("/metrics")).text
            assert 'federated_tasks_handed_over_total{channel="pull"}' in counted
            stopped = asyncio.to_thread(plane.stop)
            assert await asyncio.wait_for(stopped, 20) == -signal.SIGTERM  # although agents wait
    assert unhandled(plane.log) == []
