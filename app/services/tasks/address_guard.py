"""Keep calls to agents away from forbidden addresses, and from the services of this deployment.

An agent's URL must not lead to the control plane itself, to its database or to its object store, whatever networks are
allowed. These are known by host and port. Only if an agent has the same port, the guard looks further: it resolves the
host of that service, and asks the system whether an address belongs to this machine.
"""

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url

from app.services.tasks.addresses import AGENTS, RECEIVERS, Address, Callees, Network, destinations, refusal
from app.services.tasks.names import AddressInfo, NameNotResolved
from app.settings import Settings, is_loopback
from tcsfeel.errors import Picklable

POSTGRES_PORT = 5432
SHOWN_REASONS = 2  # of a host that has several addresses

Resolve = Callable[[str, int], Awaitable[list[AddressInfo]]]


class AddressRefused(Picklable, OSError):
    """No agent may be at any address of a host. The message says why, and which setting would allow it."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons[:SHOWN_REASONS])))


@dataclass(frozen=True, slots=True)
class Service:
    """A service of this deployment that no agent may stand for."""

    what: str
    host: str
    port: int


class AddressGuard:
    """Sorts out the addresses of an agent's host to which no connection may be made."""

    def __init__(
        self,
        networks: Sequence[Network],
        *,
        private: bool = True,
        services: Sequence[Service] = (),
        of: Callees = AGENTS,
    ) -> None:
        """`private` says whether private networks are allowed if there are no `networks`."""
        self._networks = networks
        self._of = of
        self._private = private
        self._services = list(services)

    @property
    def services(self) -> Sequence[Service]:
        """The services of this deployment that it knows."""
        return tuple(self._services)

    @classmethod
    def of(cls, settings: Settings) -> "AddressGuard":
        """Make the guard for these settings. It learns of the own listeners when they are there (`listens_at`)."""
        services = [*_databases(make_url(settings.database_url)), *_object_stores(settings)]
        return cls(settings.agents.allowed_networks, private=is_loopback(settings.host), services=services)

    def of_receivers(self, networks: Sequence[Network]) -> "AddressGuard":
        """Make a guard for the receivers of webhooks, which may be in other networks. It knows the same services."""
        other = AddressGuard(networks, private=self._private, of=RECEIVERS)
        other._services = self._services
        return other

    def listens_at(self, sockets: Sequence[socket.socket]) -> None:
        """Refuse all addresses of this machine at the ports of these sockets, because the server listens there."""
        for listener in sockets:
            port: int = listener.getsockname()[1]
            self._services.append(Service("the control plane", "", port))

    async def admit(self, infos: Sequence[AddressInfo], resolve: Resolve) -> list[AddressInfo]:
        """Return those `infos` (as of `socket.getaddrinfo`) to which a connection may be made.

        Raises `AddressRefused` if there is none.
        """
        admitted, reasons = [], []
        for info in infos:
            reason = await self._reason(info, resolve)
            if reason is None:
                admitted.append(info)
            else:
                reasons.append(reason)
        if not admitted:
            raise AddressRefused(reasons)
        return admitted

    async def _reason(self, info: AddressInfo, resolve: Resolve) -> str | None:
        at = info[4]
        address = _address(info)
        if (reason := refusal(address, self._networks, private=self._private, of=self._of)) is not None:
            return reason
        found = destinations(address)
        scope = at[3] if len(at) > 3 else 0  # noqa: PLR2004  (an IPv6 address has the number of its interface there)
        for service in self._services:
            if service.port == at[1] and await _serves(service, found, scope, resolve):
                return f"{self._of.name} may never be at {address} port {service.port}: {service.what} is there"
        return None


async def _serves(service: Service, found: Sequence[Address], scope: int, resolve: Resolve) -> bool:
    """Tell whether a service, whose port it is, may be at one of the addresses."""
    if service.host:
        try:
            infos = await resolve(service.host, service.port)
        except (NameNotResolved, ValueError):
            return True  # it may be anywhere
        places = [place for info in infos for place in destinations(_address(info))]
        if not set(places).isdisjoint(found):
            return True
        if not any(_is_own(place) for place in places):
            return False
    return any(_is_own(address, scope) for address in found)


def _address(info: AddressInfo) -> Address:
    return ipaddress.ip_address(info[4][0].partition("%")[0])


def _is_own(address: Address, scope: int = 0) -> bool:
    """Tell whether an interface of this machine has the address: then a socket can be bound to it."""
    family, at = (
        (socket.AF_INET, (str(address), 0))
        if isinstance(address, ipaddress.IPv4Address)
        else (socket.AF_INET6, (str(address), 0, 0, scope))
    )
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            probe.bind(at)
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _databases(url: URL) -> list[Service]:
    """The places of Postgres, of which a URL may name several. An empty host is this machine."""
    if url.get_backend_name() == "sqlite":
        return []
    hosts = [(url.host, url.port)] if url.host else []
    ports = [port for given in url.normalized_query.get("port", ()) for port in given.split(",")]
    for at, given in enumerate(host for one in url.normalized_query.get("host", ()) for host in one.split(",")):
        host, _, port = given.rpartition(":") if given.rpartition(":")[2].isdigit() else (given, "", "")
        hosts.append((host, int(port or (ports[at] if at < len(ports) else 0) or 0)))
    return [
        Service("the database", "" if host.startswith("/") else host.strip("[]"), port or url.port or POSTGRES_PORT)
        for host, port in hosts or [(os.environ.get("PGHOST", ""), int(os.environ.get("PGPORT") or 0))]
    ]


def _object_stores(settings: Settings) -> list[Service]:
    """The place of a bucket with an endpoint of its own."""
    if settings.models.bucket is None:
        return []
    endpoint = settings.models.bucket.endpoint or os.environ.get("AWS_ENDPOINT_URL") or ""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return []
    return [Service("the object store", parts.hostname, port)] if parts.hostname and port else []
