"""Check the address of an agent when a socket is made: after its name was resolved, and before it connects.

Checking the URL instead would leave a gap: a name can resolve to another address a moment later.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any

from tcsfeel.errors import Picklable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds answer with credentials, outside the link-local range (which is refused anyway).
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
        ),  # AWS, Google, Alibaba, Azure, Oracle
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are the IPv4 address behind it
_REFUSED = re.compile(r"agents may not be at (\S+): see ")


class AddressRefused(Picklable, OSError):
    """An agent's address that the configuration does not allow."""

    def __init__(self, address: str) -> None:
        super().__init__(f"agents may not be at {address}: see TCSFEEL_AGENTS__ALLOWED_NETWORKS")


def refusal(error: BaseException) -> AddressRefused | None:
    """Find the `AddressRefused` that caused an error. A host of several addresses has all their messages in one."""
    cause: BaseException | None = error
    while cause is not None:
        refused = _REFUSED.findall(str(cause))
        if refused:
            return AddressRefused(", ".join(refused))
        cause = getattr(cause, "os_error", None) or cause.__cause__
    return None


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Tell whether an agent may be at `address`: in one of `networks`, or, without any, at every remote address.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, NAT64) is treated as that address.
    """
    if isinstance(address, ipaddress.IPv6Address):
        behind = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            behind = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        address = behind or address
    if networks:
        return any(address in network for network in networks)
    local = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    return not local and address not in METADATA


def guarded_socket(networks: Sequence[Network]) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Return a factory of sockets for results of `socket.getaddrinfo`, which raises `AddressRefused`."""

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not is_allowed(ipaddress.ip_address(address[0].partition("%")[0]), networks):
            raise AddressRefused(address[0])
        return socket.socket(family=family, type=kind, proto=protocol)

    return make
