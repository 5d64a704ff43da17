"""The loop that finds trainings to drive, and holds their leases while their rounds run.

A tick claims every running training that has no owner and starts a task for each. During the work, a keeper renews the
lease after a third of its time and checks whether this process still has it: pausing or cancelling a training revokes
it, so that the work stops wherever it is, and a replica whose database does not answer stops before its lease ends.

A database that restarts or a full disk does not end a training: as long as the lease lasts, its owner tries again and
continues from the stored state, and the round gets back the time in which it made no progress. Any other error is a
bug: it is logged and tried again a few times. See `app.services.running.interruptions` for how both end.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace

import structlog

from app.clock import Clock
from app.domain.errors import NotFound
from app.domain.instants import lies_ahead
from app.domain.outcomes import MAX_PAUSE_SECONDS
from app.domain.retries import Setbacks
from app.domain.rounds import Round, of_round
from app.metrics import Metrics
from app.services.rounds.early_ends import EarlyEnds
from app.services.rounds.engine import RoundEngine
from app.services.rounds.opening import begin_round, correct, open_round, prolong
from app.services.rounds.owned import OwnedTransactions
from app.services.running.interruptions import Interruptions, is_passing
from app.services.running.keepers import LeaseKeeper
from app.services.running.steps import Steps
from app.settings import CoordinatorSettings
from app.sharing import party
from app.store.columns import refuses
from app.store.database import Database, in_a_line, is_outage
from app.store.leases import Claim, Fenced, Lease
from app.store.outages import Outage

RELEASE_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Coordinator:
    """One per process. `owner` names the replica."""

    def __init__(
        self,
        *,
        owner: str,
        db: Database,
        owned: OwnedTransactions,
        engine: RoundEngine,
        early_ends: EarlyEnds,
        interruptions: Interruptions,
        settings: CoordinatorSettings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._owner = owner
        self._db = db
        self._owned = owned
        self._engine = engine
        self._early_ends = early_ends
        self._interruptions = interruptions
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._driving: set[asyncio.Task[None]] = set()
        self._draining = False
        self._outage = Outage()
        self._steps = Steps(settings.lease_seconds)
        self._keeper = LeaseKeeper(db, settings)
        self._last_tick = time.monotonic()
        metrics.tick_age.set_function(lambda: self.tick_age if settings.enabled else 0.0)

    @property
    def tick_age(self) -> float:
        """Seconds since the last tick that succeeded."""
        return time.monotonic() - self._last_tick

    @property
    def finding(self) -> str | None:
        """Describe what is wrong with the database; None if it answers, as far as is known."""
        return self._outage.finding or self._keeper.outage.finding

    @property
    def outage_seconds(self) -> float:
        """Return for how many seconds the database has not answered the coordinator; 0 if it does."""
        return max(self._outage.seconds, self._keeper.outage.seconds)

    async def run(self) -> None:
        """Tick until cancelled; a tick that fails is logged and the loop goes on."""
        while True:
            await self._outage.outlast(self.tick, "tick failed")
            await self._clock.sleep(self._settings.tick_seconds)

    async def tick(self) -> None:
        """Agree on the time with the database, and claim what is free.

        Where the database's clock was set, claims come first: a drive of before must lose its lease before it can
        find its round's deadline gone by.
        """
        async with self._db.read() as tx:
            now = await tx.now()
            claimable = await tx.leases.claimable()
        was_set = self._steps.notice(self._clock.behind(now))
        if not was_set:
            self._clock.adopt(now)
        claims: list[Claim] = []
        try:
            while claimable and not self._draining:
                async with self._db.begin() as tx:
                    claim = await tx.leases.claim(self._owner, self._settings.lease_seconds)
                if claim is None:
                    break
                claims.append(claim)
                self._keeper.outage.end()
        finally:
            if was_set:
                self._clock.adopt(now)
            for claim in claims:
                self._begin(claim)
        self._last_tick = time.monotonic()

    def _begin(self, claim: Claim) -> None:
        if claim.previous_owner is not None:
            self._metrics.lease_takeovers.inc()
            log.info("training taken over", training=claim.lease.training_id, previous_owner=claim.previous_owner)
        task = asyncio.create_task(self._own(claim), name=f"training {claim.lease.training_id}")
        self._driving.add(task)
        task.add_done_callback(self._done)

    async def stop(self) -> None:
        """Stop claiming and driving, and release every lease, so that other servers can take over at once."""
        self._draining = True
        for task in self._driving:
            task.cancel()
        await asyncio.gather(*self._driving, return_exceptions=True)

    async def _own(self, claim: Claim) -> None:
        lease = claim.lease
        logged = structlog.contextvars.bound_contextvars(training=lease.training_id, fence=lease.fence)
        with logged, party(lease.training_id):
            keeper = asyncio.create_task(self._keeper.keep(lease))
            work = asyncio.create_task(self._drive(lease, keeper, taken_over=claim.previous_owner is not None))
            try:
                await asyncio.wait({work, keeper}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                results = [await self._stopped(task) for task in (work, keeper)]  # the work looks at its keeper
                self._interruptions.over(lease.training_id)
                self._metrics.show_progress(lease.training_id, None)
            with self._outage.tolerated():
                await self._settle_up(lease, results)

    async def _stopped(self, task: asyncio.Task[None]) -> BaseException | None:
        """Cancel a task, and return the error with which it ends."""
        task.cancel()
        return (await asyncio.gather(task, return_exceptions=True))[0]

    async def _settle_up(self, lease: Lease, results: Iterable[BaseException | None]) -> None:
        """Look at how the work ended. After an unforeseen error the lease is kept until it is over: a pause."""
        async with self._db.read() as tx:
            holds = await tx.leases.holds(lease)
            training = await tx.trainings.get(lease.training_id)
            last = await tx.rounds.newest(training.id)
        for problem in results:
            if isinstance(problem, Fenced):
                self._metrics.fenced_writes.inc()
                log.info("another server owns the training now")
            elif isinstance(problem, Exception) and is_outage(problem):
                self._outage.meet(problem)
            elif (
                isinstance(problem, NotFound) and not holds
            ):  # the next owner has continued the round and emptied the spool
                log.info("a file is missing, since another server owns the round now", reason=str(problem))
            elif isinstance(problem, Exception):
                log.error("driving the training failed", exc_info=problem)
        if last is not None:
            await self._early_ends.leave(training, last)

    async def _drive(self, lease: Lease, keeper: asyncio.Task[None], *, taken_over: bool) -> None:
        """Drive round after round, as long as the training wants one.

        A lease whose `keeper` has ended is lost, or runs out in a moment. It is not given back, so that the next owner
        of the training sees that its owner stood still.
        """
        setbacks = Setbacks()
        try:
            if taken_over:
                await self._record(self._interruptions.taken_over(lease))
            while await self._go_on(lease, setbacks):
                pass
        except asyncio.CancelledError:
            if not keeper.done():
                await asyncio.shield(self._release(lease))
            raise
        await self._release(lease)

    async def _go_on(self, lease: Lease, setbacks: Setbacks) -> bool:
        """Drive the next round, or the open one further. False when the training is not running any more."""
        try:
            round_ = await self._next(lease, lost=setbacks.begin(self._clock.now()))
            setbacks.give_back()
            if round_ is None:
                return False
            with structlog.contextvars.bound_contextvars(round=round_.number):
                await self._engine.drive(lease, round_)
        except Fenced:
            raise
        except Exception as error:
            now = self._clock.now()
            pause = setbacks.fail(now)
            if is_passing(error) or refuses(error):  # which say all in a line
                log.warning("interrupted", reason=in_a_line(error), again_in=pause)
            elif await self._holds(lease):
                log.exception("driving the training failed", again_in=pause)
            else:
                raise
            meeting = self._interruptions.meet(lease, error, in_a_row=setbacks.in_a_row, lost=now - setbacks.since)
            await self._record(meeting)
            await self._clock.sleep(pause)
        else:
            setbacks.end()
            self._interruptions.over(lease.training_id)
        return True

    async def _record(self, recording: Coroutine[None, None, None]) -> None:
        """Record an interruption. Where that fails too, the next try of the round is the next try of this."""
        try:
            await recording
        except Fenced:
            raise
        except Exception as problem:
            if is_outage(problem):
                self._outage.meet(problem)
            else:
                log.exception("an interruption could not be recorded")

    async def _holds(self, lease: Lease) -> bool:
        async with self._db.glance() as tx:
            return await tx.leases.holds(lease)

    async def _next(self, lease: Lease, *, lost: float = 0.0) -> Round | None:
        """The open round, or a new one; None when the training is not running any more.

        The end of a round has mostly begun the one after it. An open round gets the seconds back that were `lost`.
        """
        known = self._owned.known(lease)
        if (opened := known.opened) is not None:
            known.opened = None
            return opened
        while True:
            async with self._owned.begin(lease) as tx:
                training = await tx.trainings.get(lease.training_id)
                if training.status != "running":
                    return None
                now = self._clock.now()
                ended = known.closed == training.current_round > 0
                if not ended and (round_ := await open_round(tx, training.id)) is not None:
                    round_ = await prolong(tx, round_, self._steps.owed(lease))
                    round_ = await prolong(tx, round_, lost, ours=True)
                    round_ = await correct(
                        tx, round_, of_round(training.config, round_).round_policy.deadline_seconds, now
                    )
                    break
                if now >= training.next_round_at or lies_ahead(training.next_round_at, now + MAX_PAUSE_SECONDS):
                    training, round_ = await begin_round(tx, training, now)
                    await tx.trainings.put(training)
                    return round_
            await self._clock.sleep(training.next_round_at - self._clock.now())
        async with self._db.read() as tx:  # there may be thousands of participations, which are not read here
            stored = await tx.rounds.get(round_.training_id, round_.number)
        return replace(round_, participations=stored.participations, evaluations=stored.evaluations)

    async def _release(self, lease: Lease) -> None:
        with suppress(Fenced, TimeoutError), self._outage.tolerated():  # otherwise it simply expires
            async with asyncio.timeout(RELEASE_SECONDS), self._db.begin() as tx:
                await tx.leases.release(lease)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._driving.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("a training's task failed", exc_info=problem)
