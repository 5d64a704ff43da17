"""Agents of different makers in one federation, over real sockets."""

import threading
from pathlib import Path
from typing import Any

from app.agent import hosting
from examples import minimal_trainer, third_party_agent
from tests.e2e.servers import call, server

TOKEN = "only-the-control-plane-knows"


async def test_an_agent_of_plain_python_trains_beside_sdk_agents(sqlite_url: str, tmp_path: Path) -> None:
    foreign = third_party_agent.make_server(host="127.0.0.1", port=0, token=TOKEN, seed=7)
    thread = threading.Thread(target=foreign.serve_forever)
    thread.start()
    trainers = {f"sdk-{seed}": minimal_trainer.trainer(seed=seed) for seed in range(3)}
    try:
        async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
            client: dict[str, Any] = {
                "id": "foreign",
                "url": f"http://127.0.0.1:{foreign.server_address[1]}",
                "data_size": 160,
                "compute_capacity": 1.0,
                "bandwidth": 10.0,
                "latency": 5.0,
                "auth_token": TOKEN,
            }
            await call(api, "POST", "/v1/clients", json=client)
            async with hosting(trainers, server_url=plane.url, api_key=plane.key):
                body = {
                    "name": "mixed",
                    "selection": {"strategy": "random", "min_clients": 4, "max_clients": 4},
                    "hyperparameters": {"local_epochs": 3, "learning_rate": 0.1},
                }
                training = await call(api, "POST", "/v1/trainings", json=body)
                path = f"/v1/trainings/{training['id']}/rounds"
                for number in range(1, 4):
                    value = await call(api, "POST", path, headers={"Prefer": "wait=30"})
                    statuses = {part["client_id"]: part["status"] for part in value["participations"]}
                    assert statuses == dict.fromkeys([*trainers, "foreign"], "received"), value
                    assert value["number"] == number
                assert value["average_accuracy"] > 0.85  # chance is 0.25
                assert sum(foreign.trained.values()) >= 3
    finally:
        foreign.shutdown()
        foreign.server_close()
        thread.join()


async def test_an_agent_on_loopback_is_not_called_unless_that_is_allowed(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"near": minimal_trainer.trainer()}
    async with (
        server(tmp_path, sqlite_url, TCSFEEL_AGENTS__ALLOWED_NETWORKS="[]") as plane,
        plane.api() as api,
        hosting(trainers, server_url=plane.url, api_key=plane.key) as agents,
    ):
        body = {"name": "near", "selection": {"min_clients": 1, "max_clients": 1}}
        training = await call(api, "POST", "/v1/trainings", json=body)
        path = f"/v1/trainings/{training['id']}/rounds"
        value = await call(api, "POST", path, headers={"Prefer": "wait=30"})

        assert value["status"] == "abandoned"
        assert "agents may not be at 127.0.0.1: see TCSFEEL_AGENTS__ALLOWED_NETWORKS" in value["failure_reason"]
        assert not agents.host.agents["near"].table.trained
