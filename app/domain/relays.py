"""The relay trees of rounds: who may be in them, and how long a relay may take.

No update is ever in two sums. A client that hangs below a relay is asked by the control plane itself only after the
participation of its relay has ended, and what has ended does not change any more. The end of a relay and of the members
of its mean is one transaction. So whoever drives the round finds either both or neither, and takes no second mean.

The times shrink down the tree: children have `CHILD_SHARE` of the time that the round's training may take, relays have
`RELAY_SHARE`, and the rest is left for asking clients whose relay has failed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.clients import Client
from app.domain.measurements import reported
from app.domain.rounds import Participation, Round
from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.aggregation.updates import PLAUSIBLE_FACTOR, UpdateFacts
from tcsfeel.aggregation.weights import bounded
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.types import Plan
from tcsfeel.transfers import Topology
from tcsfeel.wire.relays import MOST_CHILDREN

CHILD_SHARE = 0.5
RELAY_SHARE = 0.75
FORGIVEN = 0.02  # of what a client lacks as a relay, with each update that it sends without being one
RELAYS_FROM = 0.4  # `Measured.relaying`: three failures in a row are enough to be below


def able_to_relay(clients: Sequence[Client]) -> tuple[str, ...]:
    """Return the clients that can be in a relay tree: they let others relay, and have an address for their relay.

    One that has often brought nothing as a relay is in none for a while.
    """
    return tuple(
        client.id
        for client in clients
        if client.profile.relay and client.profile.url is not None and _relays_well(client)
    )


def forgiven(client: Client) -> Client:
    """Return a client after an update that came from it without relaying. So it gets another chance in time."""
    relaying = client.measured.relaying
    if relaying is None:
        return client
    return replace(client, measured=replace(client.measured, relaying=relaying + FORGIVEN * (1.0 - relaying)))


def _relays_well(client: Client) -> bool:
    return client.measured.relaying is None or client.measured.relaying >= RELAYS_FROM


def relayable(connectivity: Connectivity, topology: Topology, clients: Sequence[Client]) -> Connectivity:
    """Return the links over which updates of these clients may travel: with relays, those of `able_to_relay`."""
    return connectivity if topology == "star" else connectivity.restricted(able_to_relay(clients))


def sound(plan: Plan, clients: Mapping[str, Client], config: AggregationConfig) -> Plan:
    """Return a plan without the relaying that could do harm: the clients concerned hang on the server itself.

    The server bounds how much one client weighs when all updates are there, and cannot do so within a mean. So a client
    that would exceed these bounds, if all claimed the most that they may, is in no mean. A relay has at most
    `MOST_CHILDREN` children.
    """
    if plan.topology != "relay":
        return plan
    names = [client_id for client_id in plan.parents if client_id in clients]
    most = [PLAUSIBLE_FACTOR * clients[client_id].profile.data_size for client_id in names]
    fair = {
        client_id
        for client_id, claim, allowed in zip(names, most, bounded(most, config), strict=True)
        if claim <= allowed
    }
    counts: dict[str, int] = defaultdict(int)
    parents: dict[str, str | None] = {}
    for client_id, parent in plan.parents.items():
        kept = parent if parent in fair and client_id in fair else None
        if kept is not None:
            counts[kept] += 1
            kept = kept if counts[kept] <= MOST_CHILDREN else None
        parents[client_id] = kept
    return replace(plan, parents=parents)


def groups(round_: Round) -> dict[str, tuple[str, ...]]:
    """Return the children of each relay of a round, as it was planned."""
    found: dict[str, list[str]] = defaultdict(list)
    if round_.plan is not None:
        for client_id, parent in round_.plan.parents.items():
            if parent is not None:
                found[parent].append(client_id)
    return {relay: tuple(children) for relay, children in found.items()}


def senders(round_: Round) -> list[Participation]:
    """Return the received participations whose agents have sent a file, in the order of their ids.

    It is an update, or the mean of a relay.
    """
    received = (part for part in round_.participations if part.status == "received" and part.relay is None)
    return sorted(received, key=lambda part: part.client_id)


def by_file(round_: Round) -> list[list[Participation]]:
    """Return, for the file of each of the `senders`, the received participations whose updates are in it."""
    behind: dict[str, list[Participation]] = defaultdict(list)
    for part in round_.participations:
        if part.status == "received" and part.relay is not None:
            behind[part.relay].append(part)
    return [[part, *behind[part.client_id]] for part in senders(round_)]


def facts_of_members(round_: Round) -> list[list[UpdateFacts]] | None:
    """Return what the clients in the file of each of the `senders` reported; None if each file is of one client."""
    files = by_file(round_)
    if all(len(members) == 1 for members in files):
        return None
    return [[reported(one) for one in members] for members in files]


def with_members(round_: Round, reasons: Mapping[str, str]) -> dict[str, str]:
    """Return why received updates are rejected, by client, with the members of the means that are rejected."""
    found = {}
    for part in round_.participations:
        if part.status != "received":
            continue
        if part.client_id in reasons and part.relay is None:
            found[part.client_id] = reasons[part.client_id]
        elif part.relay is not None and part.relay in reasons:
            found[part.client_id] = f"the mean of its relay {part.relay!r} was rejected: {reasons[part.relay]}"
    return found
