"""Readers who follow events over real connections: how streams end, and what they leave.

`tests/harnesses/test_short_runs_readers.py` kills the server of many readers.
"""

import asyncio
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.servers import Server, call
from tests.planes import until

SECONDS = 60.0
PROFILE = {
    "url": "http://127.0.0.1:9/",
    "data_size": 1,
    "compute_capacity": 1.0,
    "bandwidth": 1.0,
    "latency": 1.0,
}


class Reader:
    """Follows the stream of a server. When a connection ends, it connects again."""

    def __init__(self, server: Server) -> None:
        self.ids: list[int] = []
        self.closing = 0
        self._server = server

    async def run(self) -> None:
        while True:
            try:
                async with self._server.api() as api:
                    headers = {"Last-Event-ID": str(self.ids[-1] if self.ids else 0)}
                    async with api.stream("GET", "/v1/events/stream", headers=headers) as response:
                        assert response.status_code == 200
                        async for line in response.aiter_lines():
                            self._take(line)
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)

    async def has(self, newest: int) -> bool:
        return bool(self.ids) and self.ids[-1] >= newest

    async def was_told(self) -> bool:
        return self.closing > 0

    def _take(self, line: str) -> None:
        if line.startswith("id: "):
            self.ids.append(int(line.removeprefix("id: ")))
        elif line == "event: closing":
            self.closing += 1


async def register(api: httpx2.AsyncClient, first: int, count: int) -> None:
    for number in range(first, first + count):
        await call(api, "POST", "/v1/clients", json=PROFILE | {"id": f"c-{number}"})


async def test_streams_end_with_a_word_when_their_server_stops(sqlite_url: str, tmp_path: Path) -> None:
    server = Server(tmp_path, sqlite_url)
    await server.start()
    reader = Reader(server)
    following = asyncio.create_task(reader.run())
    try:
        async with asyncio.timeout(SECONDS), server.api() as api:
            await register(api, 0, 1)
            await until(partial(reader.has, 1))
            waiting = asyncio.create_task(call(api, "GET", "/v1/events", params={"after": 10**6, "wait": 60}))
            await asyncio.sleep(0.2)
            assert await asyncio.to_thread(server.stop) in {0, -15}
            page: dict[str, Any] = await waiting
            assert json.dumps(page["items"]) == "[]"
            await until(reader.was_told)
    finally:
        following.cancel()
        server.kill()


async def test_a_stream_ends_when_its_key_is_revoked_and_leaves_its_place(sqlite_url: str, tmp_path: Path) -> None:
    server = Server(tmp_path, sqlite_url)
    await server.start()
    try:
        async with asyncio.timeout(SECONDS), server.api() as api:
            made = await call(api, "POST", "/v1/keys", json={"name": "page", "role": "viewer"})
            headers = {"Authorization": f"Bearer {made['key']}"}
            lines: list[str] = []
            async with api.stream("GET", "/v1/events/stream", headers=headers) as response:
                assert response.status_code == 200
                assert await readers(api) == 1
                await call(api, "DELETE", f"/v1/keys/{made['id']}")
                lines = [line async for line in response.aiter_lines() if line]
            assert lines[-2:] == ["event: closing", 'data: {"reason": "the key is not valid any more"}']
            await until(partial(has_no_readers, api))
            async with api.stream("GET", "/v1/events/stream"):
                assert await readers(api) == 1
            await until(partial(has_no_readers, api))  # although the reader only hung up
    finally:
        server.kill()


async def readers(api: httpx2.AsyncClient) -> float:
    (line,) = re.findall(r"^federated_event_readers (.+)$", (await api.get("/metrics")).text, re.MULTILINE)
    return float(line)


async def has_no_readers(api: httpx2.AsyncClient) -> bool:
    return await readers(api) == 0
