"""A training that keeps little, over real HTTP and a killed server: what it keeps is there, the rest is not."""

import asyncio
import hashlib
from pathlib import Path

import httpx2

from app.store.model_store import ModelStore
from tcsfeel.agent import hosting
from tests.e2e.servers import call, server, unhandled
from tests.planes import Adder

PATIENCE = 120.0
STATES = 2


async def test_what_is_not_kept_goes_from_the_disk_and_what_is_kept_is_served(
    database_url: str, tmp_path: Path
) -> None:
    shared = {"TCSFEEL_MODELS__URL": f"file://{tmp_path}/models", "TCSFEEL_MODELS__REMOVAL_DELAY_SECONDS": "0"}
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    async with (
        server(tmp_path / "one", database_url, **shared) as one,
        one.api() as api,
        hosting({"client": Adder()}, server_url=one.url, api_key=one.key),
    ):
        body = {
            "name": "short memory",
            "aggregation": "fedadam",
            "max_rounds": 6,
            "target_accuracy": 1.0,
            "selection": {"strategy": "random", "min_clients": 1, "max_clients": 1},
            "retention": {"keep_last": 2, "keep_best": False},
        }
        path = f"/v1/trainings/{(await call(api, 'POST', '/v1/trainings', json=body))['id']}"
        assert (await call(api, "GET", path))["retention"] == body["retention"]
        await call(api, "POST", f"{path}/rounds", headers={"Prefer": "wait=40"})
        await call(api, "PUT", f"{path}/models/1/pin")
        await call(api, "POST", f"{path}/start")
        async with asyncio.timeout(PATIENCE):
            while (await call(api, "GET", path))["status"] == "running":  # noqa: ASYNC110  (of another process)
                await asyncio.sleep(0.05)
        one.kill()
        async with server(tmp_path / "other", database_url, **shared) as other, other.api() as api_of_other:
            removed = await _removed(api_of_other, path, 3, tmp_path / "models")
            assert removed == [4, 3, 2]
            for number in (0, 1, 5, 6):
                answer = await api_of_other.get(f"{path}/model", params={"round": number})
                assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
            gone = await api_of_other.get(f"{path}/model", params={"round": 3})
            assert (gone.status_code, gone.json()["type"]) == (410, "urn:tcsfeel:problem:removed")
            await _counted(
                api_of_other, 3 + 4
            )  # and the optimiser's states, but for the newest and the pinned version's
    assert unhandled(one.log) == unhandled(other.log) == []


async def _removed(api: httpx2.AsyncClient, path: str, count: int, models: Path) -> list[int]:
    """The rounds whose versions were removed, once these are `count` and nothing but the others is stored.

    Beside the versions, that is the states of the server's optimiser after the newest and the pinned one.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            items = (await call(api, "GET", f"{path}/models"))["items"]
            kept = {item["sha256"] for item in items if item["removed_at"] is None}
            stored = set(ModelStore(models).names())
            if len(items) - len(kept) == count and kept < stored and len(stored - kept) == STATES:
                return [item["round"] for item in items if item["removed_at"] is not None]
            await asyncio.sleep(0.05)


async def _counted(api: httpx2.AsyncClient, files: int) -> None:
    wanted = f"federated_model_files_removed_total {float(files)}"
    async with asyncio.timeout(PATIENCE):
        while wanted not in (await api.get("/metrics")).text.splitlines():  # noqa: ASYNC110  (of another process)
            await asyncio.sleep(0.05)
