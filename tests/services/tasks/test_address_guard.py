"""No connection is made to a forbidden address, to the control plane itself, to its database or to its object store."""

import ipaddress
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

from app.services.tasks.address_guard import AddressGuard, AddressRefused, Service
from app.services.tasks.answers import AgentFailed
from app.services.tasks.bodies import TaskBody
from app.services.tasks.names import AddressInfo, NameNotResolved
from app.settings import Settings
from app.store.model_store import ModelStore
from tests.services.fakes import HERE, LOOPBACK, calling, endpoint, listening, reply

EVERY = "0.0.0.0"  # noqa: S104  (to see who connects)
ANYWHERE = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]


def info(address: str, port: int = 9000, scope: int = 0) -> AddressInfo:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, scope))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


async def known(host: str, port: int) -> list[AddressInfo]:
    """Resolve the names of this test."""
    names = {"db.example": ["203.0.113.5", "203.0.113.6"], "localhost": ["127.0.0.1", "::1"]}
    if host not in names and not host[0].isdigit():
        raise NameNotResolved(f"there is no {host}")
    return [info(address, port) for address in names.get(host, [host])]


async def refused(guard: AddressGuard, *infos: AddressInfo) -> str | None:
    try:
        await guard.admit(infos, known)
    except AddressRefused as error:
        return str(error)
    return None


async def test_of_several_addresses_the_allowed_ones_are_left() -> None:
    guard = AddressGuard([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fe80::/10")])
    given = [info("10.0.0.7"), info("127.0.0.1"), info("fe80::1%eth0", scope=2)]
    assert await guard.admit(given, known) == [given[0], given[2]]


async def test_a_refusal_says_why_each_address_is_refused_and_can_be_pickled() -> None:
    reason = await refused(AddressGuard([]), info("127.0.0.1"), info("::1"))
    assert reason == (
        "agents may not be at 127.0.0.1: to allow it, set TCSFEEL_AGENTS__ALLOWED_NETWORKS, for example to"
        ' ["127.0.0.0/8"]; agents may not be at ::1: to allow it, set TCSFEEL_AGENTS__ALLOWED_NETWORKS, for example to'
        ' ["::1/128"]'
    )
    error = AddressRefused(["one", "one", "three"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "one"  # noqa: S301  (made here)


async def test_the_control_plane_is_no_agent_at_any_address_of_this_machine() -> None:
    guard = AddressGuard(ANYWHERE)
    with socket.create_server((HERE, 0)) as listener:
        port: int = listener.getsockname()[1]
        assert await refused(guard, info(HERE, port)) is None
        guard.listens_at([listener])
        for address in (HERE, "127.9.9.9", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::"):
            assert await refused(guard, info(address, port)) == (
                f"agents may never be at {ipaddress.ip_address(address)} port {port}: the control plane is there"
            )
        assert await refused(guard, info("203.0.113.5", port), info("2001:db8::1", port)) is None  # another machine
        assert await refused(guard, info(HERE, port - 1)) is None


@pytest.mark.parametrize(
    ("host", "address", "is_refused"),
    [
        ("db.example", "203.0.113.6", True),
        ("db.example", "::ffff:203.0.113.6", True),
        ("db.example", "203.0.113.7", False),
        ("db.example", "127.0.0.1", False),  # it is on another machine
        ("localhost", "127.0.0.1", True),
        ("localhost", "127.0.0.5", True),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "203.0.113.5", False),
        ("", "127.0.0.1", True),  # a socket of this machine, beside which Postgres usually listens
        ("", "203.0.113.5", False),
        ("nowhere.example", "203.0.113.5", True),  # nobody knows
    ],
)
async def test_no_agent_is_where_the_database_is(host: str, address: str, is_refused: bool) -> None:
    guard = AddressGuard(ANYWHERE, services=[Service("the database", host, 5432)])
    reason = await refused(guard, info(address, 5432))
    assert (reason is not None) == is_refused
    assert reason is None or reason.endswith("port 5432: the database is there")
    assert await refused(guard, info(address, 5433)) is None


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("sqlite+aiosqlite:////tmp/x.db", []),
        ("postgresql+asyncpg://u:p@db.example/x", [("db.example", 5432)]),
        ("postgresql+asyncpg://u:p@db.example:6432/x", [("db.example", 6432)]),
        ("postgresql+asyncpg://u:p@[2001:db8::5]:6432/x", [("2001:db8::5", 6432)]),
        ("postgresql+asyncpg://u:p@/x?host=one:6432&host=two:6433", [("one", 6432), ("two", 6433)]),
        ("postgresql+asyncpg://u:p@/x?host=one,two&port=6432,6433", [("one", 6432), ("two", 6433)]),
        ("postgresql+asyncpg://u:p@/x?host=/run/postgresql", [("", 5432)]),
        ("postgresql+asyncpg:///x", [("", 5432)]),
    ],
)  # fmt: skip
async def test_the_database_is_found_in_its_url(url: str, places: list[tuple[str, int]]) -> None:
    guard = AddressGuard.of(Settings.load(database={"url": url}))
    assert [(service.host, service.port) for service in guard.services] == places


@pytest.mark.parametrize(
    ("url", "variable", "places"),
    [
        ("s3://models?endpoint=http://s3.example:9000", None, [("s3.example", 9000)]),
        ("s3://models?endpoint=https://s3.example", None, [("s3.example", 443)]),
        ("s3://models", "http://10.0.0.9:9000", [("10.0.0.9", 9000)]),
        ("s3://models", None, []),
        ("s3://models", "http://s3.example:port", []),
        ("file:///models", "http://10.0.0.9:9000", []),
    ],
)
async def test_the_object_store_is_found_in_its_endpoint(
    monkeypatch: pytest.MonkeyPatch, url: str, variable: str | None, places: list[tuple[str, int]]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", variable or "")
    guard = AddressGuard.of(Settings.load(models={"url": url}))
    assert [(service.host, service.port) for service in guard.services] == places


@pytest.mark.parametrize(
    ("host", "is_refused"), [("127.0.0.1", False), ("localhost", False), (EVERY, True), ("192.0.2.1", True)]
)
async def test_private_networks_are_refused_if_the_server_listens_beyond_loopback(host: str, is_refused: bool) -> None:
    guard = AddressGuard.of(Settings.load(host=host))
    assert (await refused(guard, info("10.0.0.7")) is not None) == is_refused
    assert await refused(guard, info("203.0.113.7"), info("8.8.8.8")) is None


async def test_the_database_is_not_called_over_a_real_socket() -> None:
    async with (
        listening(reply("200 OK")) as database,
        calling(**LOOPBACK, services=[Service("the database", "localhost", database.port)]) as agents,
    ):
        assert not (await agents.health(endpoint(database.url))).alive
        assert database.connections == 0


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every host name stand for these addresses."""
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        names = [host] if host in (*addresses, HERE) else addresses
        return [found for name in names for found in real(name, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST", "127.0.0.2", EVERY, "[::ffff:127.0.0.1]", "0x7f000001", "2130706433"],
)
async def test_an_agent_on_this_machine_is_never_connected_to(host: str, tmp_path: Path) -> None:
    async with calling() as agents, listening(reply("200 OK"), host=EVERY) as peer:
        agent = endpoint(f"http://{host}:{peer.port}", auth_token="secret")
        spool = ModelStore(tmp_path)
        assert not (await agents.health(agent)).alive
        await agents.forget(agent, "t")
        for call in (
            agents.initial_model(agent, spool),
            agents.hand_over(agent, "t", TaskBody(b"", memoryview(b"")), spool),
            agents.poll(agent, "t", 1.0, spool),
        ):
            with pytest.raises(AgentFailed, match=r"agents may n|its URL cannot be called"):
                await call
        assert peer.connections == 0


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.1"]])
async def test_the_reason_names_the_setting_for_hosts_of_one_and_of_several_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, addresses: list[str]
) -> None:
    resolve_to(monkeypatch, *addresses)
    async with calling() as agents, listening(reply("200 OK"), host=EVERY) as peer:
        with pytest.raises(AgentFailed) as caught:
            await agents.poll(endpoint(f"http://agent.example:{peer.port}"), "t", 1.0, ModelStore(tmp_path))
        assert peer.connections == 0
    assert "set TCSFEEL_AGENTS__ALLOWED_NETWORKS" in str(caught.value)
    assert any(address in str(caught.value) for address in addresses)


async def test_of_several_addresses_an_allowed_one_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "127.0.0.2", HERE)
    async with (
        calling(allowed_networks=(f"{HERE}/32",)) as agents,
        listening(reply("200 OK")) as peer,
        listening(host="127.0.0.2"),
    ):
        assert (await agents.health(endpoint(f"http://agent.example:{peer.port}"))).alive
        assert peer.connections == 1


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(tmp_path: Path, status: str) -> None:
    async with calling(**LOOPBACK) as agents, listening(reply("200 OK")) as target:
        async with listening(reply(status, location=target.url)) as agent:
            with pytest.raises(AgentFailed, match=f"^the agent answered {status[:3]}"):
                await agents.poll(endpoint(agent.url), "t", 1.0, ModelStore(tmp_path))
            assert agent.connections == 1
        assert target.connections == 0


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_no_proxy_of_the_environment_sees_a_call(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    async with listening(reply("200 OK")) as proxy, listening(reply("200 OK")) as agent:
        monkeypatch.setenv(variable, proxy.url)
        async with calling(**LOOPBACK) as agents:
            assert (await agents.health(endpoint(agent.url))).alive
        assert (agent.connections, proxy.connections) == (1, 0)


async def test_receivers_of_webhooks_have_networks_of_their_own_and_are_kept_from_the_same_services() -> None:
    agents = AddressGuard([ipaddress.ip_network("10.0.0.0/8")])
    receivers = agents.of_receivers([ipaddress.ip_network("192.168.0.0/16"), *ANYWHERE])
    with socket.socket() as listener:
        listener.bind((HERE, 0))
        agents.listens_at([listener])
        port = listener.getsockname()[1]
        assert await refused(receivers, info(HERE, port)) == (
            f"receivers of webhooks may never be at {HERE} port {port}: the control plane is there"
        )
    assert await refused(receivers, info("192.168.0.7")) is None
    assert "agents may not be" in (await refused(agents, info("192.168.0.7")) or "")
    closed = await refused(agents.of_receivers([ipaddress.ip_network("10.0.0.0/8")]), info("192.168.0.7"))
    assert closed == (
        'receivers of webhooks may not be at 192.168.0.7: to allow it, add "192.168.0.0/24" to '
        "TCSFEEL_WEBHOOKS__ALLOWED_NETWORKS"
    )
