"""Events of clients, of their breakers, and of the links between them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated, ClassVar

from app.domain.breaker import BreakerState
from app.domain.clients import Client, ClientStatus, Profile
from app.domain.events.event import Event, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class OfClient(Event):
    """The base of events of one client."""

    subject: ClassVar[Subject] = "client"

    client_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRegistered(OfClient):
    """A new client was registered."""

    type: ClassVar[str] = "client.registered"

    url: Annotated[str | None, "the address of its agent; null if it has none and pulls its tasks"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientsRegistered(Event):
    """A batch of several clients was registered."""

    type: ClassVar[str] = "clients.registered"
    subject: ClassVar[Subject] = "client"

    count: Annotated[int, "how many clients it has"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientUpdated(OfClient):
    """A client's profile was replaced or changed."""

    type: ClassVar[str] = "client.updated"

    fields: Annotated[tuple[str, ...], "the names of the fields that changed, or that a `PATCH` named"]
    url: Annotated[str | None, "its new address, where the address changed; null if it pulls by now"] = None
    was: Annotated[str | None, "its old address, where the address changed; null if it pulled before"] = None
    token_forgotten: Annotated[bool, "whether its `auth_token` was cleared because the address changed"] = False


def update_of(before: Client, after: Client) -> ClientUpdated:
    """Make the event of a client whose profile was replaced: which fields differ, and both addresses if it moved."""
    names = [field.name for field in fields(Profile)]
    changed = sorted(name for name in names if getattr(before.profile, name) != getattr(after.profile, name))
    new, old = (after.profile.url, before.profile.url) if "url" in changed else (None, None)
    return ClientUpdated(client_id=after.id, fields=tuple(changed), url=new, was=old)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfDevice(OfClient):
    """The base of events in which a device gets a client's id."""

    public_key: Annotated[str, "the public key of the device"]
    invitation_id: Annotated[str, "the id of the invitation that the device used"]


class ClientEnrolled(OfDevice):
    """A device enrolled under this id with an invitation, and got a key of its own."""

    type: ClassVar[str] = "client.enrolled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientReplaced(OfDevice):
    """A new device enrolled in place of the one that had this id, whose key was revoked at the same time."""

    type: ClassVar[str] = "client.replaced"

    was: Annotated[str, "the public key of the device that had this id before"]


class ClientRemoved(OfClient):
    """A client was removed."""

    type: ClassVar[str] = "client.removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChanged(OfClient):
    """A client's health status changed."""

    was: Annotated[ClientStatus, "its status before"]


class ClientHealthy(HealthChanged):
    """A client that was suspect or down gave a sign of life."""

    type: ClassVar[str] = "client.healthy"


class ClientSuspect(HealthChanged):
    """The next sign of life of a client is overdue, or its agent did not answer."""

    type: ClassVar[str] = "client.suspect"


class ClientDown(HealthChanged):
    """A client has been silent for so long that it is not selected any more."""

    type: ClassVar[str] = "client.down"


HEALTH: Mapping[ClientStatus, type[HealthChanged]] = MappingProxyType(
    {"healthy": ClientHealthy, "suspect": ClientSuspect, "down": ClientDown}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIdentityConflict(OfClient):
    """Two agents began to use the same client id.

    Two devices may have the same id, or an old process was not stopped. The server takes no action. The client's
    `conflict` shows the agents until only one of them sends signs of life.
    """

    type: ClassVar[str] = "client.identity_conflict"

    urls: Annotated[tuple[str, ...], "the addresses of the agents"]
    instances: Annotated[tuple[str, ...], "the instances that the agents named"] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProved(OfClient):
    """The address of a client proved that it belongs to the device with the client's key. It can be given tasks."""

    type: ClassVar[str] = "client.proved"

    url: Annotated[str, "the address"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientDoubted(OfClient):
    """The address of a client answered, but without a valid signature of the client's key.

    Another device may have registered its own address under this id, or another agent runs there now. The address gets
    no tasks before it has given such a signature, and no result without one is used.
    """

    type: ClassVar[str] = "client.doubted"

    url: Annotated[str, "the address"]
    reason: Annotated[str, "what is wrong with its answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientUnproven(OfClient):
    """The address of a client could not be asked for a signature of the client's key, so the client gets no tasks yet.

    It is refused, cannot be reached, or does not answer. The server asks again, and has another event if there is
    another reason then.
    """

    type: ClassVar[str] = "client.unproven"

    url: Annotated[str, "the address"]
    reason: Annotated[str, "why it could not be asked"]


IdentityEvent = ClientProved | ClientDoubted | ClientUnproven


def identity_events(before: Client, after: Client) -> list[IdentityEvent]:
    """Make the events of a client whose address was asked for a signature."""
    proof, doubt = after.identity.proof, after.identity.doubt
    events: list[IdentityEvent] = []
    if proof is not None and proof != before.identity.proof:
        events.append(ClientProved(client_id=after.id, url=proof.url))
    if doubt is not None and doubt != before.identity.doubt:
        kind = ClientDoubted if doubt.answered else ClientUnproven
        events.append(kind(client_id=after.id, url=doubt.url, reason=doubt.reason))
    return events


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged(OfClient):
    """The state of a client's breaker changed."""

    subject: ClassVar[Subject] = "breaker"

    was: Annotated[BreakerState, "its state before"]
    retry_at: Annotated[float | None, "when an open breaker lets a probe through, in unix seconds"] = None
    reason: Annotated[str | None, "what opened it, such as the last failure"] = None


class BreakerOpen(BreakerChanged):
    """A client's breaker opened, after failures or by hand. The server no longer calls the client."""

    type: ClassVar[str] = "breaker.open"


class BreakerHalfOpen(BreakerChanged):
    """A client's open breaker let one call through as a probe."""

    type: ClassVar[str] = "breaker.half_open"


class BreakerClosed(BreakerChanged):
    """A client's breaker closed, after a probe that succeeded or by hand."""

    type: ClassVar[str] = "breaker.closed"


BREAKERS: Mapping[BreakerState, type[BreakerChanged]] = MappingProxyType(
    {"open": BreakerOpen, "half_open": BreakerHalfOpen, "closed": BreakerClosed}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectivityReplaced(Event):
    """The connectivity matrix got a new version, by `PUT`, `PATCH`, or because it follows what relays have measured."""

    type: ClassVar[str] = "connectivity.replaced"
    subject: ClassVar[Subject] = "connectivity"

    version: Annotated[int, "the number of the new version"]
    clients: Annotated[int, "how many clients the matrix has"]
