"""Planning a round: who may be selected now, and the selection over them."""

import asyncio
import traceback
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from app.clock import Clock
from app.domain.breaker import admissible
from app.domain.clients import Client
from app.domain.eligibility import ANYWHERE, NOT_NAMED, Where, divided
from app.domain.evaluations import able_to_evaluate, drawn
from app.domain.relays import relayable
from app.domain.trainings import Training
from app.metrics import Metrics
from app.services.fleet.connectivity import LatestConnectivity
from app.services.fleet.roster import LatestRoster, Roster
from app.sharing import party
from app.store.transaction import Transaction
from app.threads import in_thread
from tcsfeel.errors import (
    BudgetTooSmall,
    NotEnoughClients,
    Picklable,
    SelectionInfeasible,
    StrategyFailed,
    UnknownStrategy,
)
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import select
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.columns import Columns
from tcsfeel.selection.types import Candidate, History, Selection, SelectionPolicy, Skipped
from tcsfeel.selection.unselected import joined

FEW = 500  # clients, which are divided on the event loop in less than 2 ms, even if each is looked at by itself

log = structlog.get_logger(__name__)


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

    def candidates(self, losses: Mapping[str, float], examples: Mapping[str, int]) -> Candidates:
        """Return those on offer as strategies see them.

        `losses` and `examples` are what they last reported to the training. A client that has trained counts with the
        examples that it trained on, and no longer with those that it claims to have.
        """
        seen = list(self.seen or (client.candidate() for client in self.offered))
        about = self.sketches.keys() | losses.keys() | examples.keys()
        if not about:
            return Candidates.of(seen, self.columns, self.ids)
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
            return Candidates.of(seen, ids=self.ids)
        sizes = self.columns.data_size.copy()
        sizes[[places[client_id] for client_id in known]] = [seen[places[client_id]].data_size for client_id in known]
        return Candidates.of(seen, replace(self.columns, data_size=sizes), self.ids)


class StrategyOverdue(Picklable):
    """A selection strategy did not end in time. Its thread cannot be stopped, and goes on."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"the strategy {name!r} {detail}")


# Why a round has no selection: it ends with the reason.
NO_SELECTION = (SelectionInfeasible, UnknownStrategy, StrategyFailed, StrategyOverdue)


class _NotInTime(Exception):
    """A strategy has not ended."""


class _Course:
    """How far a call in a thread has come."""

    def __init__(self) -> None:
        self.begun = Event()
        self.over = Event()

    def __enter__(self) -> None:
        self.begun.set()

    def __exit__(self, *_: object) -> None:
        self.over.set()


class Planner:
    """Reads the fleet and runs strategies off the event loop."""

    def __init__(self, roster: LatestRoster, connectivity: LatestConnectivity, clock: Clock, metrics: Metrics) -> None:
        self._roster = roster
        self._connectivity = connectivity
        self._clock = clock
        self._metrics = metrics
        self._overdue: dict[str | None, _Course] = {}

    async def fleet(
        self,
        tx: Transaction,
        *,
        where: Where = ANYWHERE,
        exclude: Collection[str] = (),
        training_id: str | None = None,
        sketches: Mapping[str, tuple[float, ...]] | None = None,
    ) -> Fleet:
        """The fleet as a training sees it: clients with a task in flight for another one are busy.

        Clients that do not meet `where` are shut out, and so are those to `exclude`. The training's `sketches` are read
        if they are not given.
        """
        roster = await self._roster.get(tx)
        busy = await tx.rounds.busy_clients(except_training=training_id)
        connectivity = await self._connectivity.get(tx)
        if sketches is None:
            sketches = {} if training_id is None else await tx.sketches.means(training_id)
        divide = partial(_fleet, roster, busy, where, frozenset(exclude), self._clock.now(), connectivity, sketches)
        return divide() if len(roster.clients) <= FEW else await in_thread("administration", divide)

    async def evaluators(
        self, tx: Transaction, training: Training, seed: int
    ) -> tuple[list[Client], list[tuple[str, str]]]:
        """Read healthy, free clients that are able to evaluate; as many as asked for, drawn with the round's seed.

        Returns them, and the ids of those that are not able to, each with the reason.
        """
        fleet = await self.fleet(tx, training_id=training.id)
        able, out = able_to_evaluate(fleet.offered, training.config.evaluation_tags, self._clock.now())
        out += [(one.client_id, one.reason) for one in fleet.shut_out]
        return drawn(able, training.config.evaluation_clients, seed), out

    async def select(
        self,
        fleet: Fleet,
        strategy: str,
        history: History,
        policy: SelectionPolicy,
        seed: int,
        *,
        losses: Mapping[str, float] = MappingProxyType({}),
        examples: Mapping[str, int] = MappingProxyType({}),
        training_id: str | None = None,
        patience: float | None = None,
    ) -> Selection:
        """Run a strategy. The same fleet, history, policy, seed, losses and examples give the same answer.

        `losses` and `examples` hold what clients have reported in this training. A strategy that has not ended after
        `patience` seconds by the clock is given up. Its thread cannot be stopped; while it goes on, the training gets
        no other.

        Raises:
            UnknownStrategy, NotEnoughClients, BudgetTooSmall, StrategyFailed.
            Invalid: a parameter that the strategy does not have, or not with this value.
            StrategyOverdue: it did not end in time, or there was no thread for it.
        """
        if training_id in self._overdue and not self._overdue[training_id].over.is_set():
            raise StrategyOverdue(strategy, "is still running from an earlier round that stopped waiting for it")
        if patience is not None and patience <= 0:
            raise StrategyOverdue(strategy, "was not started: the round had no time left for it")
        policy = replace(policy, known_clients=len(fleet.clients))
        rng = np.random.default_rng(seed)
        course = _Course()

        def run() -> Selection:
            with course:
                links = relayable(fleet.connectivity, policy.topology, fleet.offered)
                chosen = select(strategy, fleet.candidates(losses, examples), links, history, policy, rng)
                return replace(chosen, skipped=joined(chosen.skipped, fleet.shut_out))

        try:
            with self._metrics.selection_duration.time(), party(f"strategy {strategy}"):
                return await self._in_time(in_thread("selection", run), patience)
        except _NotInTime:
            if not course.begun.is_set():
                raise StrategyOverdue(strategy, "could not start in time: other selections take too long") from None
            if training_id is not None:
                self._overdue[training_id] = course
            raise StrategyOverdue(strategy, f"did not end within {patience:.3g} s") from None
        except (NotEnoughClients, BudgetTooSmall) as error:
            raise error.naming([(out.client_id, out.reason) for out in fleet.shut_out], [NOT_NAMED]) from error
        except StrategyFailed as error:
            log.warning("a selection strategy failed", reason=str(error), where=_origin(error))
            raise

    async def _in_time(self, work: Coroutine[Any, Any, Selection], patience: float | None) -> Selection:
        """What `work` gives. Raises `_NotInTime` where that takes more than `patience` seconds by the clock."""
        if patience is None:
            return await work
        running, timer = asyncio.create_task(work), asyncio.create_task(self._clock.sleep(patience))
        try:
            await asyncio.wait({running, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise _NotInTime
            return running.result()
        finally:
            running.cancel()
            timer.cancel()
            await asyncio.gather(running, timer, return_exceptions=True)


def _origin(error: BaseException) -> str:
    """Where an error, or the one behind it, was raised."""
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _fleet(  # noqa: PLR0917  (what a fleet is made of)
    roster: Roster,
    busy: Collection[str],
    where: Where,
    excluded: Collection[str],
    now: float,
    connectivity: Connectivity,
    sketches: Mapping[str, tuple[float, ...]],
) -> Fleet:
    """Divide the clients into those on offer and those that are shut out.

    Only those are looked at one by one that something may shut out.
    """
    clients = roster.clients
    not_closed = [clients[place] for place in np.flatnonzero(~roster.closed).tolist()]
    breakers = {client.id: client.breaker for client in not_closed}
    admitted, forced = admissible(breakers, now, closed=len(clients) - len(breakers))
    plain = roster.at_hand.copy() if where == ANYWHERE else np.zeros(len(clients), np.bool_)
    plain[[roster.places[client_id] for client_id in (*busy, *excluded) if client_id in roster.places]] = False
    looked_at = [clients[place] for place in np.flatnonzero(~plain).tolist()]
    let_in = admitted | forced | {client.id for client in looked_at if client.id not in breakers}
    some, shut_out = divided(looked_at, where, excluded=excluded, admitted=let_in, busy=busy)
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
        ids=roster.ids if every else tuple([roster.ids[place] for place in places]),
    )


def _population(clients: Sequence[Client], not_closed: Sequence[Client], where: Where) -> int:
    """Count the clients that meet the conditions and are not isolated by hand."""
    if where == ANYWHERE:
        return len(clients) - sum(client.breaker.isolated for client in not_closed)
    refusals = zip(clients, where.refusals(clients), strict=True)
    return sum(not client.breaker.isolated and refusal is None for client, refusal in refusals)
