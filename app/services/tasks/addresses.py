"""Decide where agents may be, by the address that a connection is about to be made to.

The address is checked after the name was resolved, for each connection. Checking the URL instead would leave a gap: a
name can resolve to another address a moment later.

`ipaddress` knows the ranges. An IPv6 address can lead to an IPv4 host in many ways, and then that host has to be
allowed too: see `destinations`.
"""

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SETTING = "TCSFEEL_AGENTS__ALLOWED_NETWORKS"


class Callees(NamedTuple):
    """Those whom the server calls, in the words of a refusal, and the setting that says where they may be."""

    name: str
    setting: str


AGENTS = Callees("agents", SETTING)
RECEIVERS = Callees("receivers of webhooks", "TCSFEEL_WEBHOOKS__ALLOWED_NETWORKS")

METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.169.0/24",  # most clouds, and the time and name servers beside their metadata
            "169.254.170.0/24",  # AWS: credentials of containers
            "169.254.0.23/32",  # Tencent
            "169.254.42.42/32",  # Scaleway
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle
            "fd00:ec2::/64",  # AWS: metadata, credentials of containers, time and names
            "fd20:ce::254/128",  # Google
            "fd00:42::42/128",  # Scaleway
            "fe80::a9fe:a9fe/128",  # OpenStack
        ),
    )
)
"""The addresses at which clouds give credentials to their own machines."""

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, in which :: and ::1 mean something else
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")  # RFC 2765
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215: the operator chooses how long the prefix is
_LOCAL_NAT64_BYTES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))  # RFC 6052, 2.2
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}  # RFC 5214: the third quarter of the address
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def destinations(address: Address) -> list[Address]:
    """Return every address that a packet to `address` may end at. An agent may be there if it may be at all of them."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    last = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    hosts: list[Address] = []
    if int(address) > 1 and any(address in network for network in (_MAPPED, _COMPATIBLE, _TRANSLATED, _NAT64)):
        hosts = [last]
    elif address.sixtofour is not None:
        hosts = [address.sixtofour]
    elif address.teredo is not None:
        hosts = [*address.teredo]
    elif (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        hosts = [address, last]
    elif address in _LOCAL_NAT64:
        read = [ipaddress.IPv4Address(bytes(address.packed[at] for at in four)) for four in _LOCAL_NAT64_BYTES]
        hosts = [host for host in read if host not in _THIS_NETWORK]  # those that are not prefix or padding
    return hosts or [address]


def _never(address: Address) -> str | None:
    """Say why no agent may be at `address`, whatever the settings allow; None if one may."""
    if any(address in network for network in METADATA):
        return "clouds give credentials to their machines there"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "it stands for the server itself"
    if address.is_multicast or address == _BROADCAST:
        return "it stands for many machines"
    return None


def refusal(address: Address, networks: Sequence[Network], *, private: bool, of: Callees = AGENTS) -> str | None:
    """Say why an agent, or another one `of` the callees, may not be at `address`; None if it may be there.

    The reason names the setting that would allow it. With `networks`, agents may be in these and nowhere else. Without
    any, they may be at every remote address, and in private networks only if `private` is true.
    """
    for one in destinations(address):
        if (why := _never(one)) is not None:
            return f"{of.name} may never be at {address}: {why}"
    for one in destinations(address):
        if networks:
            if not any(one in network for network in networks):
                return f'{of.name} may not be at {address}: to allow it, add "{_around(one)}" to {of.setting}'
        elif _is_here(one) or not (private or _is_public(one)):
            return (
                f'{of.name} may not be at {address}: to allow it, set {of.setting}, for example to ["{_around(one)}"]'
            )
    return None


def _is_here(address: Address) -> bool:
    """Tell whether only this machine and its neighbours on a cable can have the address."""
    return address.is_loopback or address.is_link_local


def _is_public(address: Address) -> bool:
    site_local = isinstance(address, ipaddress.IPv6Address) and (address.is_site_local or address.is_reserved)
    return address.is_global and not site_local


def _around(address: Address) -> Network:
    """Return a small network that contains the address, to be shown as an example."""
    length = {4: 24, 6: 64}[address.version]
    if address.is_loopback:
        length = {4: 8, 6: 128}[address.version]
    return ipaddress.ip_network((address, length), strict=False)
