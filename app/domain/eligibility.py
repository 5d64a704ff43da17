"""Which clients may train in a training, whatever the strategy would choose."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from app.domain.clients import Client
from app.domain.identity import without_quotation
from tcsfeel.selection.types import Skipped
from tcsfeel.text import moment

NOT_NAMED = "it is not one of the clients that the training names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The conditions that a client has to meet to be selected; by default there are none.

    Attributes:
        tags: all of these tags, with these values.
        clients: the ids of the only clients that may train; empty for all.
        exclude: the ids of clients that may not.
        min_data_size: the least number of training samples.
        min_reliability: the least probability that a task comes back, 0..1, as measured, or claimed until then.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    clients: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_data_size: int = 0
    min_reliability: float = 0.0

    def refusals(self, clients: Iterable[Client]) -> Iterator[str | None]:
        """Say of each client why it may not train; None if it may."""
        named, excluded = frozenset(self.clients), frozenset(self.exclude)  # each may have as many ids as the fleet
        for client in clients:
            yield self._refusal(client, named, excluded)

    def _refusal(self, client: Client, named: Collection[str], excluded: Collection[str]) -> str | None:
        if client.id in excluded:
            return "the training excludes it"
        if named and client.id not in named:
            return NOT_NAMED
        for key, value in self.tags.items():
            if client.profile.tags.get(key) != value:
                return f"it does not have the tag {key}:{value} that the training asks for"
        if client.profile.data_size < self.min_data_size:
            return f"it has {client.profile.data_size} samples, and the training asks for {self.min_data_size}"
        reliability = client.candidate().reliability
        if reliability < self.min_reliability:
            return f"its reliability is {reliability:.2f}, and the training asks for {self.min_reliability:g}"
        return None


ANYWHERE = Where()


def divided(
    clients: Sequence[Client],
    where: Where,
    *,
    excluded: Collection[str],
    admitted: Collection[str],
    busy: Collection[str],
    working: Mapping[str, str] = MappingProxyType({}),
) -> tuple[tuple[Client, ...], tuple[Skipped, ...]]:
    """Divide clients into those that a strategy may choose from, and the others, each with the first reason.

    Args:
        clients: all of them.
        where: the conditions of the training.
        excluded: the ids of those that the request excludes.
        admitted: the ids of those that may be called, as far as their breakers are concerned.
        busy: the ids of those that have a task in flight for another training.
        working: why those with a carried task of this training are not selected, by their ids.
    """
    offered, shut_out = [], []
    for client, refusal in zip(clients, where.refusals(clients), strict=True):
        reason = working.get(client.id) or refusal or _unavailable(client, excluded, admitted, busy)
        if reason is None:
            offered.append(client)
        else:
            shut_out.append(Skipped(client.id, reason))
    return tuple(offered), tuple(shut_out)


def _unavailable(
    client: Client, excluded: Collection[str], admitted: Collection[str], busy: Collection[str]
) -> str | None:
    """Say why a client cannot train now; return None if it can."""
    if client.id in excluded:
        return "the request excludes it"
    if client.status != "healthy":
        seen_at = client.created_at if client.last_seen_at is None else client.last_seen_at
        return f"its status is {client.status}: the server last heard from it at {moment(seen_at)}"
    if client.id not in admitted:
        return client.breaker.explanation
    if (unproven := client.unproven) is not None:
        return without_quotation(unproven)
    return "it has a task in flight for another training" if client.id in busy else None
