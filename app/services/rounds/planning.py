"""Planning a round: who may be selected now, and the selection over them."""

import asyncio
import traceback
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Event
from types import MappingProxyType
from typing import Any

import numpy as np
import structlog

from app.clock import Clock
from app.domain.carrying import Carried
from app.domain.clients import Client
from app.domain.eligibility import ANYWHERE, NOT_NAMED, Where
from app.domain.evaluations import able_to_evaluate, drawn
from app.domain.relays import relayable
from app.domain.trainings import Training
from app.metrics import Metrics
from app.services.fleet.connectivity import LatestConnectivity
from app.services.fleet.roster import LatestRoster
from app.services.rounds.fleets import Fleet, divided_fleet
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
from tcsfeel.selection import select
from tcsfeel.selection.types import History, Selection, SelectionPolicy
from tcsfeel.selection.unselected import joined

FEW = 500  # clients, which are divided on the event loop in less than 2 ms, even if each is looked at by itself

log = structlog.get_logger(__name__)


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
        carried: Sequence[Carried] = (),
    ) -> Fleet:
        """The fleet as a training sees it: clients with a task in flight for another one are busy.

        Clients that do not meet `where` are shut out, and so are those to `exclude`, and those of the training's
        `carried` tasks. Its `sketches` are read if they are not given.
        """
        roster = await self._roster.get(tx)
        busy = await tx.rounds.busy_clients(except_training=training_id)
        connectivity = await self._connectivity.get(tx)
        if sketches is None:
            sketches = {} if training_id is None else await tx.sketches.means(training_id)
        divide = partial(
            divided_fleet, roster, busy, where, frozenset(exclude), self._clock.now(), connectivity, sketches, carried
        )
        return divide() if len(roster.clients) <= FEW else await in_thread("administration", divide)

    async def evaluators(
        self, tx: Transaction, training: Training, seed: int
    ) -> tuple[list[Client], list[tuple[str, str]]]:
        """Read healthy, free clients that are able to evaluate; as many as asked for, drawn with the round's seed.

        Returns them, and the ids of those that are not able to, each with the reason.
        """
        carried = await tx.carried.open(training.id) if training.config.round_policy.stragglers == "carry" else ()
        fleet = await self.fleet(tx, training_id=training.id, carried=carried)
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
        number: int | None = None,
        patience: float | None = None,
    ) -> Selection:
        """Run a strategy. The same fleet, history, policy, seed, losses and examples give the same answer.

        `losses` and `examples` hold what clients have reported in this training, `number` is that of its round. A
        strategy that has not ended after `patience` seconds by the clock is given up. Its thread cannot be stopped;
        while it goes on, the training gets no other.

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
            with self._metrics.time_selection(training_id, number), party(f"strategy {strategy}"):
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
        in_time = False
        try:
            await asyncio.wait({running, timer}, return_when=asyncio.FIRST_COMPLETED)
            in_time = running.done()
        finally:
            running.cancel()
            timer.cancel()
            if not in_time:  # else only the timer has to end, which takes three passes of the event loop
                await asyncio.gather(running, timer, return_exceptions=True)
        if not in_time:
            raise _NotInTime
        return running.result()


def _origin(error: BaseException) -> str:
    """Where an error, or the one behind it, was raised."""
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
