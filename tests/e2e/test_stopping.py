"""What callers hear from a server that is told to stop."""

import asyncio
import os
import signal
from pathlib import Path

import httpx2

from tests.api import profile
from tests.e2e.servers import call, free_port, server


async def test_a_wait_for_a_round_ends_with_503_as_soon_as_the_server_is_told_to_stop(
    tmp_path: Path, database_url: str
) -> None:
    async with server(tmp_path, database_url, TCSFEEL_COORDINATOR__DRAIN_SECONDS="600") as plane, plane.api() as api:
        away = profile(id="away", url=f"http://127.0.0.1:{free_port()}")
        await call(api, "POST", "/v1/clients", json=away)
        rules = {"min_clients": 1, "max_clients": 1}
        training = await call(api, "POST", "/v1/trainings", json={"name": "digits", "selection": rules})
        path = f"/v1/trainings/{training['id']}/rounds"
        waiting = asyncio.create_task(api.post(path, headers={"Prefer": "wait=600"}))
        while not (await call(api, "GET", path))["items"]:  # noqa: ASYNC110  (a server rings no bell)
            await asyncio.sleep(0.01)
        os.kill(plane.pid, signal.SIGTERM)
        answer: httpx2.Response = await waiting
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["type"] == "urn:tcsfeel:problem:stopping"
        assert await asyncio.to_thread(plane.stop) in {0, -signal.SIGTERM}
