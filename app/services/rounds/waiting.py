"""Waiting, inside a round, for clients that can be selected.

Many trainings may wait for the same fleet for hours, so waiting costs little: they all look at one count of the clients
that can be selected, which is read at most once a second, and nothing is written while it stays too small.
"""

import asyncio

from app.clock import Clock
from app.domain.patience import waited
from app.domain.rounds import Round
from app.domain.selections import selection_policy
from app.domain.trainings import Training
from app.services.rounds.initial_models import ClientsAway
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.planning import Planner
from app.services.rounds.progress import ProgressRecord
from app.store.database import Database
from app.store.leases import Lease
from app.store.selections import packed
from app.threads import in_thread
from tcsfeel.errors import NotEnoughClients
from tcsfeel.selection.types import Skipped, nobody

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 5.0
COUNT_SECONDS = 1.0  # how old the count may be
COUNT_SHARE = 0.05  # of the time that counting may take: a large fleet is counted more rarely
REASON_SECONDS = 30.0  # how old the stored reason may be, once the count has changed


class Availability:
    """Counts the clients that can be selected, for all trainings that wait."""

    def __init__(self, db: Database, planner: Planner, clock: Clock) -> None:
        self._db = db
        self._planner = planner
        self._clock = clock
        self._reading = asyncio.Lock()
        self._count = 0
        self._good_until = 0.0

    async def count(self) -> int:
        """Count the clients that are healthy, admitted by their breakers, and free."""
        async with self._reading:
            if not self._clock.now() < self._good_until:
                loop = asyncio.get_running_loop()
                began = loop.time()
                async with self._db.read() as tx:
                    self._count = len((await self._planner.fleet(tx)).offered)
                took = loop.time() - began
                self._good_until = self._clock.now() + max(COUNT_SECONDS, took / COUNT_SHARE)
        return self._count


class ClientWait:
    """Keeps a round waiting until clients can be selected, or until it has waited for too long."""

    def __init__(
        self,
        owned: OwnedTransactions,
        ledger: RoundLedger,
        progress: ProgressRecord,
        availability: Availability,
        clock: Clock,
    ) -> None:
        self._owned = owned
        self._ledger = ledger
        self._progress = progress
        self._availability = availability
        self._clock = clock

    async def wait(
        self, lease: Lease, training: Training, round_: Round, lack: NotEnoughClients | ClientsAway, *, tries: int
    ) -> Round:
        """Give the round when planning it is worth another try, or abandoned if it has waited for its longest.

        `lack` says which clients were out, and why; an abandoned round keeps that as its selection. `tries` says how
        often planning has failed before, which makes the pauses longer. Raises `Fenced`.
        """
        limit = training.config.round_policy.max_wait_seconds
        if waited(round_, self._clock.now()) >= limit:
            why = f"{lack}; the round waited for {limit:g} s" if limit else str(lack)
            out = nobody(training.config.selection.strategy, [Skipped(name, reason) for name, reason in lack.out])
            document = await in_thread("administration", packed, out)
            return await self._ledger.abandoned(lease, round_, why, selection=document)
        async with self._owned.begin(lease) as tx:
            round_ = await self._progress.waiting(tx, round_, str(lack))
        least = (
            lack.required if isinstance(lack, NotEnoughClients) else selection_policy(training.config, None).min_clients
        )
        required = max(1, least)
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 10))
        began, first = self._clock.now(), None
        while (left := limit - waited(round_, self._clock.now())) > 0:
            await self._clock.sleep(min(pause, left))
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
            count = await self._availability.count()
            first = count if first is None else first
            news = count != first and self._clock.now() - began >= REASON_SECONDS
            if count >= required or news:
                break
        return round_
