"""A receiver gets each event although the server that sends them is killed; several servers share one database."""

import asyncio
import http.server
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import update
from standardwebhooks import Webhook, WebhookVerificationError

from app.store.database import Database
from app.store.tables import webhooks
from tests.e2e.servers import Server, call
from tests.planes import until
from tests.serving import serving

SECONDS = 120.0
TYPE = "client.registered"  # others come as time passes, since nobody is at the address of these clients
PROFILE = {"url": "http://127.0.0.1:9/", "data_size": 1, "compute_capacity": 1.0, "bandwidth": 1.0, "latency": 1.0}


class Receiver(http.server.ThreadingHTTPServer):
    """Takes events whose signature fits, and remembers how often each one came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.secret = ""
        self.came: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    async def has(self, ids: set[int]) -> bool:
        return ids <= self.came.keys()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            Webhook(self.server.secret).verify(body, dict(self.headers.items()))
        except WebhookVerificationError as error:
            self.server.wrong.append(repr(error))
        data = json.loads(body)["data"]
        with self.server.lock:
            self.server.came[data["id"]] += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


async def ids(server: Server) -> set[int]:
    async with server.api() as api:
        page = await call(api, "GET", "/v1/events", params={"limit": 1000})
    return {one["id"] for one in page["items"] if one["type"] == TYPE}


async def register(server: Server, first: int, count: int) -> None:
    async with server.api() as api:
        for number in range(first, first + count):
            await call(api, "POST", "/v1/clients", json=PROFILE | {"id": f"c-{number}"})


async def end_leases(database_url: str) -> None:
    """Let the lease of a server that was killed be over at once, not half a minute later."""
    db = Database(database_url)
    async with db.begin() as tx:
        await tx.connection.execute(update(webhooks).values(lease_until=1.0))
    await db.dispose()


async def test_no_event_is_missed_when_the_server_that_sends_them_is_killed(postgres_url: str, tmp_path: Path) -> None:
    allowed = {"TCSFEEL_WEBHOOKS__ALLOWED_NETWORKS": '["127.0.0.0/8"]'}
    one, other = (Server(tmp_path / name, postgres_url, **allowed) for name in ("one", "other"))
    other.key = one.key
    for server in (one, other):
        server.log.parent.mkdir()
        server.environment["TCSFEEL_AUTH__ADMIN_KEY"] = one.key
    with serving(Receiver()) as receiver:
        try:
            await one.start()  # alone, so that it becomes the owner
            async with one.api() as api:
                made = await call(api, "POST", "/v1/webhooks", json={"url": receiver.url, "types": [TYPE]})
            receiver.secret = made["secret"]
            await register(one, 0, 5)
            async with asyncio.timeout(SECONDS):
                expected = await ids(one)
                await until(lambda: receiver.has(expected))
                await other.start()
                killing = asyncio.create_task(register(other, 5, 40))
                await asyncio.sleep(0.3)
                one.kill()
                await end_leases(postgres_url)
                await killing
                expected = await ids(other)
                await until(lambda: receiver.has(expected))
        finally:
            one.kill()
            other.kill()
    assert receiver.wrong == []
    assert len(expected) == 45
    assert set(receiver.came) == expected
    assert sum(receiver.came.values()) <= len(expected) + 20, "only those of the killed server's last moment come twice"
