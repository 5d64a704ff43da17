"""Which addresses an agent may have."""

import ipaddress
from collections.abc import Sequence

import pytest

from app.services.tasks.addresses import Network, destinations, refusal

EVERY = "0.0.0.0"  # noqa: S104  (an address that must be refused)

HERE = [
    "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1",  # this machine
    "169.254.0.1", "fe80::1", "::ffff:169.254.0.1",  # its neighbours
    "::127.0.0.1", "::ffff:0:127.0.0.1",  # compatible, and translated
    "2002:7f00:1::", "64:ff9b::7f00:1",  # 6to4 and NAT64
    "64:ff9b:1:7f00:0:100::", "64:ff9b:1:7f:0:1::", "64:ff9b:1:0:7f:0:100:0", "64:ff9b:1::127.0.0.1",  # RFC 8215
    "2001:0:808:808::80ff:fffe", "2001:0:7f00:1::f7f7:f7f7",  # Teredo: the client, and the server
    "2001:4860::5efe:127.0.0.1", "fd00::200:5efe:127.0.0.1",  # ISATAP
]  # fmt: skip

METADATA = [
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.253", "169.254.0.23", "169.254.42.42",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    "fd00:42::42", "fe80::a9fe:a9fe",
    "::ffff:169.254.169.254", "::169.254.169.254", "::ffff:0:169.254.169.254", "::ffff:100.100.100.200",
    "2002:a9fe:a9fe::1", "64:ff9b::169.254.169.254", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::",
    "2001:0:a9fe:a9fe::f7f7:f7f7", "2001:0:808:808::5601:5601", "2001:4860::5efe:169.254.169.254",
]  # fmt: skip

NEVER = [
    EVERY, "0.1.2.3", "::", "::ffff:0.0.0.0", "::2", "2002::1", "64:ff9b::", "224.0.0.1", "239.255.255.250", "ff02::1",
    "255.255.255.255", "::ffff:255.255.255.255", "64:ff9b::224.0.0.1",
]  # fmt: skip

PRIVATE = [
    "10.0.0.7", "192.168.1.1", "172.16.0.1", "172.31.255.254", "100.64.0.1", "198.18.0.1", "240.0.0.1", "fd00::7",
    "fc00::1", "fec0::1", "::ffff:10.0.0.7", "64:ff9b::10.0.0.7", "64:ff9b:1::10.0.0.7", "2002:a00:7::",
    "2001:4860::5efe:10.0.0.7", "64:ff9b:1::",
]  # fmt: skip

PUBLIC = ["8.8.8.8", "2001:4860::8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "64:ff9b:1::8.8.8.8"]


def networks(*given: str) -> list[Network]:
    return [ipaddress.ip_network(one) for one in given]


def refused(address: str, *given: str, private: bool = True) -> str | None:
    return refusal(ipaddress.ip_address(address), networks(*given), private=private)


@pytest.mark.parametrize("address", [*METADATA, *NEVER])
@pytest.mark.parametrize("given", [[], ["0.0.0.0/0", "::/0"]], ids=["no-list", "everything"])
def test_some_addresses_are_refused_whatever_is_allowed(address: str, given: Sequence[str]) -> None:
    alone = str(ipaddress.ip_network(address))
    assert str(refused(address, *given, alone)).startswith(f"agents may never be at {ipaddress.ip_address(address)}: ")


@pytest.mark.parametrize("address", HERE)
@pytest.mark.parametrize("private", [True, False])
def test_without_a_list_no_agent_is_on_this_machine_or_on_its_link(address: str, private: bool) -> None:
    assert "TCSFEEL_AGENTS__ALLOWED_NETWORKS" in str(refused(address, private=private))


@pytest.mark.parametrize("address", [address for address in HERE if "." in address])
def test_what_leads_to_this_machine_is_refused_by_a_list_of_everything_else(address: str) -> None:
    assert refused(address, "::/0", "10.0.0.0/8", "8.8.8.0/24") is not None


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_are_allowed_without_a_list_only_where_the_server_listens_on_loopback(address: str) -> None:
    assert refused(address, private=True) is None
    assert "to allow it, set TCSFEEL_AGENTS__ALLOWED_NETWORKS" in str(refused(address, private=False))


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("private", [True, False])
def test_without_a_list_agents_are_wherever_a_remote_host_can_be(address: str, private: bool) -> None:
    assert refused(address, private=private) is None


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
        ("64:ff9b:1::a00:7", ["10.0.0.0/24"], True),
        ("64:ff9b:1:a00:0:700::", ["10.0.0.0/24"], True),
        ("64:ff9b::7f00:1", ["::/0"], False),  # it leads to an IPv4 host, and no IPv4 network is listed
        ("64:ff9b:1::7f00:1", ["::/0", "64:ff9b:1::/48"], False),
        ("2001:db8::5efe:10.0.0.7", ["2001:db8::/32"], False),
        ("2001:db8::5efe:10.0.0.7", ["2001:db8::/32", "10.0.0.0/24"], True),
        ("fe80::1", ["fe80::/10"], True),
        ("fd00::7", ["fd00::/8"], True),
        ("fd00::7", ["10.0.0.0/8"], False),
        ("10.0.0.7", ["::/0"], False),
        ("10.0.0.7", ["0.0.0.0/0"], True),
    ],
)
def test_with_a_list_agents_are_there_and_nowhere_else(address: str, given: Sequence[str], allowed: bool) -> None:
    for private in (True, False):  # which says nothing where there is a list
        assert (refused(address, *given, private=private) is None) == allowed


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "::1", "fd12:3456:789a:1::5", "64:ff9b::10.1.2.3"])
def test_the_network_that_a_refusal_proposes_allows_the_address(address: str) -> None:
    reason = str(refused(address, private=False))
    proposed = reason.partition('["')[2].removesuffix('"]')
    assert refused(address, proposed) is None
    added = str(refused(address, "192.0.2.0/24")).partition('add "')[2].partition('"')[0]
    assert refused(address, "192.0.2.0/24", added) is None


def test_an_address_leads_to_the_hosts_that_are_embedded_in_it() -> None:
    found = {
        text: [str(one) for one in destinations(ipaddress.ip_address(text))]
        for text in ("10.0.0.7", "2001:db8::7", "2001:0:102:304::f5ff:fff8", "2001:db8::5efe:10.0.0.7")
    }
    assert found == {
        "10.0.0.7": ["10.0.0.7"],
        "2001:db8::7": ["2001:db8::7"],
        "2001:0:102:304::f5ff:fff8": ["1.2.3.4", "10.0.0.7"],
        "2001:db8::5efe:10.0.0.7": ["2001:db8::5efe:a00:7", "10.0.0.7"],
    }
