"""Agents of different makers in one federation, over real sockets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examples import minimal_trainer, third_party_agent
from tcsfeel.agent import hosting
from tests.e2e.servers import call, server
from tests.serving import serving

TOKEN = "only-the-control-plane-knows"


@contextmanager
def foreign_agent(features: int = 8) -> Iterator[third_party_agent.AgentServer]:
    """The agent of plain Python, serving."""
    with serving(third_party_agent.make_server(token=TOKEN, features=features, seed=7)) as foreign:
        yield foreign


def profile(foreign: third_party_agent.AgentServer) -> dict[str, Any]:
    return {
        "id": "foreign",
        "url": f"http://127.0.0.1:{foreign.server_address[1]}",
        "data_size": 160,
        "compute_capacity": 1.0,
        "bandwidth": 10.0,
        "latency": 5.0,
        "auth_token": TOKEN,
    }


async def test_an_agent_of_plain_python_trains_beside_sdk_agents(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {f"sdk-{seed}": minimal_trainer.trainer(seed=seed) for seed in range(3)}
    with foreign_agent() as foreign:
        async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
            await call(api, "POST", "/v1/clients", json=profile(foreign))
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


SMALLER = [
    ("full", "zstd", 1.0),
    ("float16", "none", 0.65),
    ("float16", "zstd", 0.65),
    ("int8", "none", 0.4),
    ("int8", "zstd", 0.35),
]


async def test_smaller_uploads_of_sdk_agents_count_beside_those_of_an_agent_that_knows_none(
    sqlite_url: str, tmp_path: Path
) -> None:
    trainers = {f"sdk-{seed}": minimal_trainer.trainer(seed=seed, features=512) for seed in range(3)}
    with foreign_agent(features=512) as foreign:
        async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
            await call(api, "POST", "/v1/clients", json=profile(foreign))
            async with hosting(trainers, server_url=plane.url, api_key=plane.key):
                for encoding, compression, largest in SMALLER:
                    body = {
                        "name": f"{encoding}-{compression}",
                        "selection": {"strategy": "random", "min_clients": 4, "max_clients": 4},
                        "hyperparameters": {"local_epochs": 1, "learning_rate": 0.001},
                        "uploads": {"encoding": encoding, "compression": compression},
                    }
                    training = await call(api, "POST", "/v1/trainings", json=body)
                    assert training["uploads"] == body["uploads"]
                    path = f"/v1/trainings/{training['id']}/rounds"
                    value = await call(api, "POST", path, headers={"Prefer": "wait=30"})
                    parts = {part["client_id"]: part for part in value["participations"]}
                    assert {part["status"] for part in parts.values()} == {"received"}, value
                    whole = parts.pop("foreign")["bytes_received"]
                    assert whole > 512 * 4 * 4
                    sizes = [part["bytes_received"] for part in parts.values()]
                    assert max(sizes) < largest * whole, body["name"]
                    assert value["average_accuracy"] > 0.85, body["name"]  # chance is 0.25, and so is the first model


async def test_an_agent_on_loopback_is_not_called_unless_that_is_allowed(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"near": minimal_trainer.trainer()}
    async with (
        server(tmp_path, sqlite_url, TCSFEEL_AGENTS__ALLOWED_NETWORKS="[]") as plane,
        plane.api() as api,
        hosting(trainers, server_url=plane.url, api_key=plane.key) as agents,
    ):
        body = {
            "name": "near",
            "selection": {"min_clients": 1, "max_clients": 1},
            "round_policy": {"max_wait_seconds": 0},
        }
        training = await call(api, "POST", "/v1/trainings", json=body)
        path = f"/v1/trainings/{training['id']}/rounds"
        value = await call(api, "POST", path, headers={"Prefer": "wait=30"})

        assert value["status"] == "abandoned"
        assert "agents may not be at 127.0.0.1: to allow it, set TCSFEEL_AGENTS__" in value["failure_reason"]
        assert not agents.host.agents["near"].table.trained
