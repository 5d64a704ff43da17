"""The clients at one moment, divided into those that selection may choose from and the others."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from app.domain.breaker import admissible
from app.domain.carrying import Carried, busy_reason
from app.domain.clients import Client
from app.domain.eligibility import ANYWHERE, Where, divided
from app.services.fleet.roster import Roster
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.columns import Columns
from tcsfeel.selection.types import Candidate, Skipped


@dataclass(frozen=True, slots=True)
class Fleet:
    """The clients at one moment.

    Attributes:
        offered: those that selection may choose from.
        shut_out: every other one, with the reason.
        forced: those offered although their breaker is open, because too many are.
        sketches: what clients' updates in the training say of their labels, of those that do not say it themselves.
        population: how many clients the training may select sooner or later: those that meet its conditions and are
            not isolated by hand.
        seen: the offered ones as selection sees them, without what is known of them in the training.
        columns: their numbers as arrays.
        places: their positions by id.
        ids: their ids.
        joined: when each of the `clients` registered, in unix seconds.
        carried: the open carried tasks of the training, whose clients are shut out.
    """

    clients: tuple[Client, ...]
    offered: tuple[Client, ...]
    shut_out: tuple[Skipped, ...]
    forced: frozenset[str]
    connectivity: Connectivity
    sketches: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    population: int = 0
    seen: tuple[Candidate, ...] | None = None
    columns: Columns | None = None
    places: Mapping[str, int] | None = None
    ids: tuple[str, ...] | None = None
    joined: npt.NDArray[np.float64] | None = None
    carried: tuple[Carried, ...] = ()

    def candidates(self, losses: Mapping[str, float], examples: Mapping[str, int]) -> Candidates:
        """Return those on offer as strategies see them.

        `losses` and `examples` are what they last reported to the training. A client that has trained counts with the
        examples that it trained on, and no longer with those that it claims to have.
        """
        seen = list(self.seen or (client.candidate() for client in self.offered))
        about = self.sketches.keys() | losses.keys() | examples.keys()
        sketched = bool(self.sketches)
        if not about:
            return Candidates.of(seen, self.columns, self.ids, self.places, sketched=sketched)
        places = self.places or {one.client_id: place for place, one in enumerate(seen)}
        for client_id in (known := [name for name in about if name in places]):
            one = seen[place := places[client_id]]
            seen[place] = replace(
                one,
                data_size=examples.get(client_id, one.data_size),
                sketch=self.sketches.get(client_id),
                loss=losses.get(client_id),
            )
        if self.columns is None:
            return Candidates.of(seen, ids=self.ids, places=self.places, sketched=sketched)
        sizes = self.columns.data_size.copy()
        sizes[[places[client_id] for client_id in known]] = [seen[places[client_id]].data_size for client_id in known]
        columns = replace(self.columns, data_size=sizes)
        return Candidates.of(seen, columns, self.ids, self.places, sketched=sketched)


def divided_fleet(  # noqa: PLR0917  (what a fleet is made of)
    roster: Roster,
    busy: Collection[str],
    where: Where,
    excluded: Collection[str],
    now: float,
    connectivity: Connectivity,
    sketches: Mapping[str, tuple[float, ...]],
    carried: Sequence[Carried] = (),
) -> Fleet:
    """Divide the clients into those on offer and those that are shut out.

    Only those are looked at one by one that something may shut out.
    """
    clients = roster.clients
    working = {one.part.client_id: busy_reason(one) for one in carried}
    not_closed = [clients[place] for place in np.flatnonzero(~roster.closed).tolist()]
    breakers = {client.id: client.breaker for client in not_closed}
    admitted, forced = admissible(breakers, now, closed=len(clients) - len(breakers))
    plain = roster.at_hand.copy() if where == ANYWHERE else np.zeros(len(clients), np.bool_)
    plain[[roster.places[client_id] for client_id in (*busy, *excluded, *working) if client_id in roster.places]] = (
        False
    )
    looked_at = [clients[place] for place in np.flatnonzero(~plain).tolist()]
    let_in = admitted | forced | {client.id for client in looked_at if client.id not in breakers}
    some, shut_out = divided(looked_at, where, excluded=excluded, admitted=let_in, busy=busy, working=working)
    plain[[roster.places[client.id] for client in some]] = True
    offered = np.flatnonzero(plain)
    every, places = len(offered) == len(clients), offered.tolist()
    return Fleet(
        clients=clients,
        offered=clients if every else tuple([clients[place] for place in places]),
        shut_out=shut_out,
        forced=forced,
        connectivity=connectivity,
        sketches=sketches,
        population=_population(clients, not_closed, where),
        seen=roster.candidates if every else tuple([roster.candidates[place] for place in places]),
        columns=roster.columns if every else roster.columns.at(offered),
        places=roster.places if every else None,
        joined=roster.joined,
        carried=tuple(carried),
        ids=roster.ids if every else tuple([roster.ids[place] for place in places]),
    )


def _population(clients: Sequence[Client], not_closed: Sequence[Client], where: Where) -> int:
    """Count the clients that meet the conditions and are not isolated by hand."""
    if where == ANYWHERE:
        return len(clients) - sum(client.breaker.isolated for client in not_closed)
    refusals = zip(clients, where.refusals(clients), strict=True)
    return sum(not client.breaker.isolated and refusal is None for client, refusal in refusals)
