"""Calls that wait end when the key of their caller is revoked.

Covers: app.http.deps
"""

import asyncio
from typing import Any

import pytest

from tests.api import Api, assert_problem, profile

SOON = 20.0  # s, of the 60 s that the calls would wait


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ({"role": "viewer"}, "/v1/events?after=1000000&wait=60"),
        ({"role": "agent", "client_id": "edge-7"}, "/v1/clients/edge-7/tasks/next?wait=60"),
    ],
    ids=["events", "tasks"],
)
async def test_a_call_that_waits_ends_when_its_key_is_revoked(sqlite_api: Api, key: dict[str, Any], path: str) -> None:
    await sqlite_api.http.post("/v1/clients", json=profile(id="edge-7"))
    await sqlite_api.http.patch("/v1/clients/edge-7", json={"url": None})
    mine = (await sqlite_api.http.post("/v1/keys", json={"name": "mine"} | key)).json()
    other = (await sqlite_api.http.post("/v1/keys", json={"name": "other", "role": "viewer"})).json()
    headers = {"Authorization": f"Bearer {mine['key']}"}
    waiting = asyncio.create_task(sqlite_api.anonymous.get(path, headers=headers))
    assert await asyncio.wait([waiting], timeout=0.5) == (set(), {waiting})
    assert (await sqlite_api.http.delete(f"/v1/keys/{other['id']}")).status_code == 204
    assert await asyncio.wait([waiting], timeout=0.5) == (set(), {waiting}), "another caller's key is no reason"
    assert (await sqlite_api.http.delete(f"/v1/keys/{mine['id']}")).status_code == 204
    async with asyncio.timeout(SOON):
        assert_problem(await waiting, 401)
