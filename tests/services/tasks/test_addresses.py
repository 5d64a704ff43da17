"""Where agents may be, and that nothing else is ever connected to."""

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.services.tasks.addresses import AddressRefused, Network, guarded_socket, is_allowed, refusal
from app.services.tasks.agents import AgentFailed
from app.store.model_store import ModelStore
from tests.services.fakes import HERE, LOOPBACK, calling, listening, profile, reply

EVERY = "0.0.0.0"  # noqa: S104  (to see who connects)


def networks(*given: str) -> list[Network]:
    return [ipaddress.ip_network(one) for one in given]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1",  # this machine
        EVERY, "::", "::ffff:0.0.0.0",  # which Linux takes for this machine
        "169.254.169.254", "169.254.0.1", "fe80::1", "::ffff:169.254.169.254",  # link-local: clouds' metadata
        "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",  # metadata elsewhere
        "::ffff:100.100.100.200",
        "2002:7f00:1::", "2002:a9fe:a9fe::1",  # 6to4 to 127.0.0.1 and to 169.254.169.254
        "64:ff9b::7f00:1", "64:ff9b::169.254.169.254",  # the same through NAT64
        "224.0.0.1", "ff02::1",  # many hosts at once
    ],
)  # fmt: skip
def test_without_a_list_no_agent_is_here_or_where_clouds_keep_credentials(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), [])


@pytest.mark.parametrize(
    "address",
    ["10.0.0.7", "192.168.1.1", "172.16.0.1", "100.64.0.1", "8.8.8.8", "fd00::7", "2001:4860::8", "::ffff:10.0.0.7",
     "64:ff9b::10.0.0.7", "2002:a00:7::"],
)  # fmt: skip
def test_without_a_list_agents_are_wherever_a_remote_host_can_be(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), [])


@pytest.mark.parametrize(
    ("address", "given", "allowed"),
    [
        ("10.0.0.7", ["10.0.0.0/24"], True),
        ("10.0.1.7", ["10.0.0.0/24"], False),
        ("10.0.1.7", ["10.0.0.0/24", "10.0.1.7/32"], True),
        ("8.8.8.8", ["10.0.0.0/8"], False),
        ("127.0.0.1", ["127.0.0.0/8"], True),  # said so, meant so
        ("127.0.0.1", ["10.0.0.0/8"], False),
        ("::1", ["127.0.0.0/8"], False),
        ("::1", ["::1/128"], True),
        ("::ffff:10.0.0.7", ["10.0.0.0/24"], True),
        ("::ffff:10.0.1.7", ["10.0.0.0/24"], False),
        ("64:ff9b::a00:7", ["10.0.0.0/24"], True),
        ("64:ff9b::7f00:1", ["::/0"], False),  # it leads to an IPv4 host, and no IPv4 network is listed
        ("fd00::7", ["fd00::/8"], True),
        ("fd00::7", ["10.0.0.0/8"], False),
        ("10.0.0.7", ["::/0"], False),
        ("10.0.0.7", ["0.0.0.0/0"], True),
    ],
)
def test_with_a_list_agents_are_there_and_nowhere_else(address: str, given: Sequence[str], allowed: bool) -> None:
    assert is_allowed(ipaddress.ip_address(address), networks(*given)) == allowed


def test_a_socket_is_made_for_an_address_that_is_allowed() -> None:
    make = guarded_socket(networks("10.0.0.0/8", "fe80::/10"))
    for family, address in ((socket.AF_INET, ("10.0.0.7", 80)), (socket.AF_INET6, ("fe80::1%eth0", 80, 0, 1))):
        with make((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)) as made:
            assert (made.family, made.type) == (family, socket.SOCK_STREAM)


def test_no_socket_is_made_for_another_one() -> None:
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1: see TCSFEEL_AGENTS__ALLOWED_NETWORKS"):
        guarded_socket([])((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))


def test_a_refusal_is_found_behind_other_errors() -> None:
    assert refusal(OSError("no route")) is None
    wrapped = OSError("cannot connect")
    wrapped.__cause__ = AddressRefused("::1")
    assert str(refusal(wrapped)) == str(AddressRefused("::1"))
    several = OSError(f"Multiple exceptions: {AddressRefused('::1')}, {AddressRefused('127.0.0.1')}")
    assert str(refusal(several)) == str(AddressRefused("::1, 127.0.0.1"))


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
        agent = profile(f"http://{host}:{peer.port}", auth_token="secret")
        spool = ModelStore(tmp_path)
        assert not await agents.is_healthy(agent)
        await agents.forget(agent, "t")
        for call in (
            agents.initial_model(agent, spool),
            agents.hand_over(agent, "t", (b"", memoryview(b"")), spool),
            agents.poll(agent, "t", 1.0, spool),
        ):
            with pytest.raises(AgentFailed, match=r"TCSFEEL_AGENTS__ALLOWED_NETWORKS|its URL cannot be called"):
                await call
        assert peer.connections == 0


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.1"]])
async def test_the_reason_names_the_setting_for_hosts_of_one_and_of_several_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, addresses: list[str]
) -> None:
    resolve_to(monkeypatch, *addresses)
    async with calling() as agents, listening(reply("200 OK"), host=EVERY) as peer:
        with pytest.raises(AgentFailed) as caught:
            await agents.poll(profile(f"http://agent.example:{peer.port}"), "t", 1.0, ModelStore(tmp_path))
        assert peer.connections == 0
    assert str(caught.value).endswith(": see TCSFEEL_AGENTS__ALLOWED_NETWORKS")
    assert any(address in str(caught.value) for address in addresses)


async def test_of_several_addresses_an_allowed_one_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "127.0.0.2", HERE)
    async with (
        calling(allowed_networks=(f"{HERE}/32",)) as agents,
        listening(reply("200 OK")) as peer,
        listening(host="127.0.0.2"),
    ):
        assert await agents.is_healthy(profile(f"http://agent.example:{peer.port}"))
        assert peer.connections == 1


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(tmp_path: Path, status: str) -> None:
    async with calling(**LOOPBACK) as agents, listening(reply("200 OK")) as target:
        async with listening(reply(status, location=target.url)) as agent:
            with pytest.raises(AgentFailed, match=f"^the agent answered {status[:3]}"):
                await agents.poll(profile(agent.url), "t", 1.0, ModelStore(tmp_path))
            assert agent.connections == 1
        assert target.connections == 0


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_no_proxy_of_the_environment_sees_a_call(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    async with listening(reply("200 OK")) as proxy, listening(reply("200 OK")) as agent:
        monkeypatch.setenv(variable, proxy.url)
        async with calling(**LOOPBACK) as agents:
            assert await agents.is_healthy(profile(agent.url))
        assert (agent.connections, proxy.connections) == (1, 0)
