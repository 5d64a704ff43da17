"""Know all clients without reading them again: a server reads those that have changed since it last looked.

A round reads the fleet when it is planned. With ten thousand clients, reading and converting all rows took longer than
the rest of the round.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import numpy.typing as npt

from app.domain.clients import Client
from app.store.transaction import Transaction
from app.threads import in_thread
from tcsfeel.selection.columns import Columns
from tcsfeel.selection.types import Candidate

RELOAD_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Roster:
    """All clients at one moment, ordered by id.

    Attributes:
        candidates: each client as selection sees it.
        ids: the id of each client.
        places: the position of each client by its id.
        at_hand: (N,) whether nothing about the client itself keeps it from training: it is healthy, its breaker is
            closed, and it has proved its address.
        closed: (N,) whether its breaker is closed.
        joined: (N,) when it registered, in unix seconds.
        columns: the numbers of the candidates as arrays.
        floor: from where to read changes.
    """

    clients: tuple[Client, ...]
    candidates: tuple[Candidate, ...]
    ids: tuple[str, ...]
    places: Mapping[str, int]
    at_hand: npt.NDArray[np.bool_]
    closed: npt.NDArray[np.bool_]
    joined: npt.NDArray[np.float64]
    columns: Columns
    floor: int

    @classmethod
    def of(cls, clients: Sequence[Client], floor: int) -> Self:
        """Make a roster of clients that are ordered by id."""
        candidates = tuple(client.candidate() for client in clients)
        return cls(
            clients=tuple(clients),
            candidates=candidates,
            ids=tuple([client.id for client in clients]),
            places={client.id: place for place, client in enumerate(clients)},
            at_hand=np.fromiter(map(_is_at_hand, clients), np.bool_, len(clients)),
            closed=np.fromiter((client.breaker.state == "closed" for client in clients), np.bool_, len(clients)),
            joined=np.fromiter((client.created_at for client in clients), np.float64, len(clients)),
            columns=Columns.of(candidates),
            floor=floor,
        )

    def changed(self, changed: Iterable[Client], floor: int) -> "Roster":
        """Return the roster after some clients have changed, or are new."""
        changed = list(changed)
        if any(client.id not in self.places for client in changed):
            everyone = {client.id: client for client in (*self.clients, *changed)}
            return Roster.of([everyone[client_id] for client_id in sorted(everyone)], floor)
        clients, candidates = list(self.clients), list(self.candidates)
        at_hand, closed = self.at_hand.copy(), self.closed.copy()
        joined = self.joined.copy()
        places = [self.places[client.id] for client in changed]
        for place, client in zip(places, changed, strict=True):
            clients[place], candidates[place] = client, client.candidate()
            at_hand[place], closed[place] = _is_at_hand(client), client.breaker.state == "closed"
            joined[place] = client.created_at
        columns = self.columns.changed(places, [candidates[place] for place in places])
        return replace(
            self,
            clients=tuple(clients),
            candidates=tuple(candidates),
            at_hand=at_hand,
            closed=closed,
            joined=joined,
            columns=columns,
            floor=floor,
        )


def _is_at_hand(client: Client) -> bool:
    return client.status == "healthy" and client.breaker.state == "closed" and client.unproven is None


class LatestRoster:
    """The newest roster that this process has read.

    All clients are read again after `reload_seconds`: a server of an earlier version, or an operator with SQL, may have
    changed some without giving the change a number.
    """

    def __init__(self, *, reload_seconds: float = RELOAD_SECONDS) -> None:
        self.known: Roster | None = None
        self._reload_seconds = reload_seconds
        self._reloaded_at = 0.0
        self._began = -math.inf  # of the transaction that has read it

    async def get(self, tx: Transaction) -> Roster:
        """Return all clients, as the transaction sees them or newer. The transaction has to be on one snapshot."""
        known = self.known
        if known is None or time.monotonic() - self._reloaded_at > self._reload_seconds:
            return self._keep(await self._read(tx), tx)
        news = await tx.client_changes.since(known.floor)
        if tx.began <= self._began and self.known is not None:  # a later transaction has read newer ones meanwhile
            return self.known
        if news.changed is not None and news.floor >= known.floor:
            # A new one moves all others, which is 90 ms of work with 10 000 clients. Otherwise it is 0.5 ms.
            changed = partial(known.changed, news.changed, news.floor)
            if any(client.id not in known.places for client in news.changed):
                roster = await in_thread("administration", changed)
            else:
                roster = changed() if news.changed else known
            if len(roster.clients) == news.registered:
                return self._keep(roster, tx)
        return self._keep(await self._read(tx), tx)

    async def _read(self, tx: Transaction) -> Roster:
        clients, floor = await tx.clients.all(), await tx.client_changes.floor()
        self._reloaded_at = time.monotonic()
        return await in_thread("administration", Roster.of, clients, floor)

    def _keep(self, roster: Roster, tx: Transaction) -> Roster:
        """Remember a roster, unless a later transaction has read a newer one."""
        if tx.began > self._began:
            self.known, self._began = roster, tx.began
        return roster
