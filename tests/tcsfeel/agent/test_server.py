"""Agents on real sockets, beside a control plane that is a small app."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tcsfeel.agent import AgentError, CannotListen, Profile, RegistrationRefused, hosting, serve
from tcsfeel.agent.listening import bind, listening
from tests.tcsfeel.agent.fakes import AddingTrainer, ControlPlane, eventually, make_task, task_body

ROOT = Path(__file__).parents[3]

PROGRAM = """
import sys, threading
from tcsfeel.agent import serve, serve_many
from tests.tcsfeel.agent.fakes import AddingTrainer

class Stuck(AddingTrainer):
    def fit(self, parameters, task):
        threading.Event().wait()

kind, server = sys.argv[1:]
if kind == "one":
    serve(Stuck(), client_id="one", server_url=server, api_key="key", token="secret")
else:
    serve_many({"one": Stuck(), "two": Stuck()}, server_url=server, api_key="key", tokens={"one": "secret"})
"""


@asynccontextmanager
async def control_plane() -> AsyncIterator[tuple[ControlPlane, str]]:
    plane = ControlPlane()
    async with listening(plane.app, "127.0.0.1", 0) as url:
        yield plane, url


async def test_hosted_agents_keep_the_noise_on_their_labels(tmp_path: Path) -> None:
    class LabelledTrainer(AddingTrainer):
        def profile(self) -> Profile:
            return Profile(data_size=1000, data_distribution=[10] * 100)

    async with control_plane() as (plane, server):
        sent = []
        for state in (tmp_path, tmp_path, None):
            trainers = {"a": LabelledTrainer(), "b": LabelledTrainer()}
            async with hosting(trainers, server_url=server, label_privacy=0.1, state=state):
                sent.append([plane.clients[client_id]["data_distribution"] for client_id in "ab"])
            plane.clients.clear()
    assert sent[0] == sent[1]
    assert len({tuple(counts) for counts in (*sent[0], *sent[2])}) == 4, "all noise is drawn apart"


async def test_hosted_agents_are_registered_answer_their_url_and_send_heartbeats() -> None:
    async with (
        control_plane() as (plane, server),
        hosting(
            {f"c{number}": AddingTrainer() for number in range(50)},
            server_url=server,
            api_key="key",
            heartbeat_seconds=0.01,
        ) as running,
        httpx2.AsyncClient() as http,
    ):
        assert plane.keys == {"Bearer key"}
        assert plane.clients.keys() == running.members.keys() == running.host.agents.keys()
        assert len({client["auth_token"] for client in plane.clients.values()}) == 50

        one = plane.clients["c7"]
        headers = {"Authorization": f"Bearer {one['auth_token']}"}
        assert one["url"] == f"{running.url}/agents/c7"
        assert (await http.get(f"{one['url']}/healthz")).status_code == 401
        task = f"{one['url']}/tasks/t.1.c7.fit"
        accepted = await http.put(task, content=task_body(make_task("t.1.c7.fit")), headers=headers)
        assert accepted.status_code in {200, 202}
        assert (await http.get(task, params={"wait": 30}, headers=headers)).status_code == 200
        assert running.host.agents["c7"].table.trained == {"t.1.c7.fit": 1}

        await eventually(lambda: set(plane.beats) == plane.clients.keys())
        plane.clients.clear()
        await eventually(lambda: plane.clients.keys() == running.members.keys())


async def test_the_advertised_url_and_given_tokens_are_what_is_registered() -> None:
    async with (
        control_plane() as (plane, server),
        hosting(
            {"a": AddingTrainer(), "b": AddingTrainer()},
            server_url=server,
            advertise_url="https://edge.example/fl/",
            tokens={"a": "mine"},
            host="0.0.0.0",  # noqa: S104  (is the point)
        ),
    ):
        assert plane.keys == {None}
        assert plane.clients["a"]["url"] == "https://edge.example/fl/agents/a"
        assert plane.clients["a"]["auth_token"] == "mine"
        assert len(plane.clients["b"]["auth_token"]) >= 32


async def test_without_a_control_plane_agents_are_served_all_the_same() -> None:
    async with hosting({"a": AddingTrainer()}, server_url=None, tokens={"a": "t"}) as running:
        url = running.url
        async with httpx2.AsyncClient(headers={"Authorization": "Bearer t"}) as http:
            assert (await http.get(f"{url}/healthz")).status_code == 200

    async with httpx2.AsyncClient() as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(url)


async def test_a_refused_registration_ends_the_hosting() -> None:
    async with control_plane() as (plane, server):
        plane.answers = {("PUT", "/v1/clients/a"): 403}
        with pytest.raises(RegistrationRefused, match="403"):
            async with hosting({"a": AddingTrainer()}, server_url=server):
                pytest.fail("it was refused")


async def test_a_taken_port_is_an_error_of_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
            async with listening(AddingTrainer, "127.0.0.1", port):  # type: ignore[arg-type]  # never served
                pytest.fail("it was taken")


async def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    """What asyncio does with the connections of our listener; without it a small answer takes 40 ms."""
    loop = asyncio.get_running_loop()
    connected: asyncio.Future[int] = loop.create_future()

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = transport.get_extra_info("socket")
            connected.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    with bind("127.0.0.1", 0) as listener:
        server = await loop.create_server(Accepted, sock=listener)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await connected
        writer.close()
        await writer.wait_closed()
        server.close()


@pytest.mark.parametrize("port", [-1, 70000])
async def test_a_port_that_is_none_is_an_error_of_one_line(port: int) -> None:
    with pytest.raises(CannotListen, match="a port must be from 0 to 65535"):
        async with hosting({}, server_url=None, port=port):
            pytest.fail("there is no such port")


async def test_a_wildcard_address_is_not_advertised() -> None:
    with pytest.raises(CannotListen, match="advertise"):
        async with hosting({"a": AddingTrainer()}, server_url=None, host="0.0.0.0"):  # noqa: S104  (is the point)
            pytest.fail("nobody could reach it")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost:8080", "ftp://host", "http://", "", "http://[::"])
async def test_a_server_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(AgentError, match="must be like http://host:8080"):
        async with hosting({"a": AddingTrainer()}, server_url=url):
            pytest.fail("it would retry for ever")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_an_ipv6_address_is_advertised_in_brackets() -> None:
    try:
        async with hosting({"a": AddingTrainer()}, server_url=None, host="::1", tokens={"a": "t"}) as running:
            assert running.url.startswith("http://[::1]:")
            async with httpx2.AsyncClient(headers={"Authorization": "Bearer t"}, trust_env=False) as http:
                assert (await http.get(f"{running.members['a'].url}/healthz")).status_code == 200
    except CannotListen as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", ["one", "many"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_served_trainer_registers_and_leaves_on_a_signal_even_while_it_trains(
    kind: str, number: signal.Signals
) -> None:
    async with control_plane() as (plane, server):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, kind, server), cwd=ROOT, stderr=subprocess.PIPE
        )
        try:
            await eventually(lambda: "one" in plane.clients)
            one = plane.clients["one"]
            assert one["auth_token"] == "secret"
            async with httpx2.AsyncClient(headers={"Authorization": "Bearer secret"}) as http:
                task = f"{one['url']}/tasks/t.1.c.fit"
                assert (await http.put(task, content=task_body(make_task()))).status_code == 202
                waiting = asyncio.create_task(http.get(task, params={"wait": 60}))
                await asyncio.sleep(0.1)  # so that the long-poll is open; the test also holds when it is not

                process.send_signal(number)
                assert (await waiting).status_code == 202
                _, errors = await asyncio.wait_for(process.communicate(), 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    assert process.returncode == 0
    text = errors.decode()
    assert one["url"].removesuffix("/agents/one") in text
    assert "secret" not in text
    assert "Traceback" not in text


def test_an_agent_loads_only_what_a_device_needs() -> None:
    others = "'app', 'fastapi', 'networkit', 'networkx', 'pandas', 'pydantic', 'scipy', 'sqlalchemy', 'starlette'"
    others += ", 'tcsfeel.aggregation', 'uvicorn'"  # what only relays, and agents that are called, need
    program = f"import sys, tcsfeel.agent; print({{{others}}} & set(sys.modules))"

    out = subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert out.stdout == "set()\n"


async def test_serving_where_an_event_loop_runs_names_what_to_use_instead() -> None:
    with pytest.raises(AgentError, match=r"an event loop already runs here.*: use `async with hosting"):
        serve(AddingTrainer(), client_id="edge-7", server_url=None)


@pytest.mark.parametrize("trainer", [AddingTrainer, AddingTrainer.profile, 3])
async def test_what_is_no_trainer_is_refused_with_what_a_trainer_needs(trainer: Any) -> None:
    async with control_plane() as (_, url):
        with pytest.raises(AgentError, match=r"client a has no trainer, but .*: pass an object with the methods"):
            async with hosting({"a": trainer}, server_url=url):
                pytest.fail("no round could use it")


async def test_what_is_hosted_does_not_show_its_tokens() -> None:
    async with hosting({"a": AddingTrainer()}, server_url=None, tokens={"a": "agent-secret"}) as running:
        assert running.members["a"].token == "agent-secret"
        assert "agent-secret" not in repr(running)
