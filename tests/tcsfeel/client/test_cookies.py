"""No client keeps cookies: with a few answers, a server could make each request longer than it accepts."""

import asyncio
import json

from click.testing import CliRunner

from tcsfeel.agent.server import hosting
from tcsfeel.cli import cli
from tcsfeel.client import AsyncClient, Client
from tests.tcsfeel.agent.fakes import AddingTrainer, eventually
from tests.tcsfeel.client.servers import Scripted, answer, scripted

COOKIE = {"Set_Cookie": f"a={'b' * 4000}; Path=/"}
HEALTHY = answer(200, b'{"status": "ok"}', None, **COOKIE)


def page(cursor: str | None) -> bytes:
    return answer(200, json.dumps({"items": [], "next_cursor": cursor}).encode(), None, **COOKIE)


def assert_none_came_back(server: Scripted) -> None:
    assert len(server.requests) == 2
    assert [server.header(number, "Cookie") for number in (0, 1)] == [None, None]


def test_a_client_sends_no_cookie_back() -> None:
    with scripted(HEALTHY, HEALTHY) as server:
        with Client(server.url) as client:
            client.healthz()
            client.healthz()
        assert_none_came_back(server)


def test_a_client_for_event_loops_sends_no_cookie_back() -> None:
    async def call_twice(url: str) -> None:
        async with AsyncClient(url) as client:
            await client.healthz()
            await client.healthz()

    with scripted(HEALTHY, HEALTHY) as server:
        asyncio.run(call_twice(server.url))
        assert_none_came_back(server)


def test_a_command_sends_no_cookie_back() -> None:
    with scripted(page("a"), page(None)) as server:
        CliRunner().invoke(cli, ["clients", "--server", server.url, "--key", "k"])
        assert_none_came_back(server)


async def test_an_agent_sends_no_cookie_back() -> None:
    answers = [answer(200, b"{}", None, **COOKIE)] * 2
    with scripted(*answers) as server:
        async with hosting({"a": AddingTrainer()}, server_url=server.url, heartbeat_seconds=0.01):
            await eventually(lambda: len(server.requests) == 2)
        assert_none_came_back(server)
        assert server.header(0, "Accept-Encoding") == "identity"
