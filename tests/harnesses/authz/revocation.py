"""Revoke keys on one replica, and measure how soon another one refuses them."""

import asyncio
import time
from pathlib import Path

import httpx2

from tests.e2e.servers import Server, call

MOST_SECONDS = 5.0
EVERY_SECONDS = 0.02


async def revocations(here: Server, there: Server, times: int) -> list[float]:
    """Return the seconds from the answer of each revocation to the first refusal of the other replica."""
    took = []
    async with here.api() as api:
        for _ in range(times):
            new = await call(api, "POST", "/v1/keys", json={"name": "x", "role": "viewer"})
            headers = {"Authorization": f"Bearer {new['key']}"}
            async with httpx2.AsyncClient(base_url=there.url, headers=headers, timeout=30) as http:
                assert (await http.get("/v1/strategies")).status_code == httpx2.codes.OK
                await call(api, "DELETE", f"/v1/keys/{new['id']}")
                started = time.monotonic()
                while (await http.get("/v1/strategies")).status_code != httpx2.codes.UNAUTHORIZED:
                    assert time.monotonic() - started < 2 * MOST_SECONDS, "a revoked key is not refused"
                    await asyncio.sleep(EVERY_SECONDS)
            took.append(time.monotonic() - started)
    return took


def replicas(directory: Path, database: str, **environment: str) -> tuple[Server, Server]:
    """Make two servers that share a database and an admin key."""
    servers = []
    for name in ("here", "there"):
        (directory / name).mkdir(parents=True)
        servers.append(Server(directory / name, database, TCSFEEL_AUTH__ADMIN_KEY="k" * 32, **environment))
    for server in servers:
        server.key = "k" * 32
    return servers[0], servers[1]
