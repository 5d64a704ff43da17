"""The audit trail of a real server: over sockets, over a stop, and as `tcsfeel audit` shows it."""

import asyncio
import json
from pathlib import Path

import httpx2
from click.testing import CliRunner, Result

from tcsfeel.audit import Chain
from tcsfeel.cli import cli
from tests.api import profile
from tests.e2e.servers import Server, call, server


def tcsfeel(plane: Server, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["audit", *arguments, "--server", plane.url, "--key", plane.key])


async def test_the_trail_outlives_a_stop_and_can_be_exported_and_verified(tmp_path: Path, sqlite_url: str) -> None:
    async with server(tmp_path, sqlite_url) as plane:
        async with plane.api() as api, httpx2.AsyncClient(base_url=plane.url) as nobody:
            await call(api, "POST", "/v1/clients", json=profile(id="edge-7"))
            assert [(await nobody.get("/v1/clients")).status_code for _ in range(3)] == [401] * 3
            head = await call(api, "GET", "/v1/audit/head")
        await asyncio.to_thread(plane.stop)
        await plane.start()
        exported = await asyncio.to_thread(tcsfeel, plane, "export")
        verified = await asyncio.to_thread(tcsfeel, plane, "verify", "--head", head["hash"])
    records = [json.loads(line) for line in exported.stdout.splitlines()]
    chain = Chain()
    for record in records:
        chain.check(record)
    assert [(record["operation"], record["status"], record["count"]) for record in records] == [
        ("start", 0, 1),
        ("POST /v1/clients", 201, 1),
        ("GET /v1/clients", 401, 1),
        ("GET /v1/clients", 401, 2),
        ("stop", 0, 1),
        ("start", 0, 1),
    ]
    assert {record["address"] for record in records if record["status"]} == {"127.0.0.1"}
    assert (verified.exit_code, verified.stdout.splitlines()[0]) == (
        0,
        "6 records, 1 to 6, form an unbroken chain",
    )


async def test_callers_that_send_no_request_are_recorded(tmp_path: Path, sqlite_url: str) -> None:
    async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
        for sent in (b"EHLO x\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", plane.port, local_addr=("127.0.0.9", 0))
            writer.write(sent)
            await reader.read()
            writer.close()
        page = await call(api, "GET", "/v1/audit", params={"operation": "connection"})
    assert [(record["actor"], record["address"], record["status"]) for record in page["items"]] == [
        ("unknown caller", "127.0.0.9", 400),
        ("unknown caller", "127.0.0.9", 431),
    ]
