"""One task at one agent, from the hand-over to a result in the spool, with retries inside a deadline and a budget.

A task that was handed over before (the coordinator restarted, or another replica took over) is polled first: the agent
keeps results until they are deleted, so nothing is trained twice. 404 means that the agent forgot it: it is handed over
again, which costs no retry.

A task was let through by its client's breaker when it was planned, or needed no permit. No call goes out any more once
the breaker has opened, by this task's failures or by another training's: a breaker that this process has opened is
known at once, and after every wait the stored one is looked at. That look also tells where the agent is by now: one
that moved is asked at its new address for the task that it has, and a call that failed at the old one is no failure.

A call holds one of the places that all trainings share, a task does not. While a trainer works, only a long poll holds
one. Where places are scarce, agents answer polls at once, and are asked more rarely. So there is no bound on the
number of tasks, and a slow trainer does not keep another client from being contacted.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.clock import Clock
from app.domain.clients import Client, Profile
from app.domain.retries import MAX_TRIES, RetryBudget, pause
from app.metrics import Metrics
from app.services.tasks.agents import AgentCaller, AgentFailed
from app.services.tasks.breakers import Breakers
from app.services.tasks.replies import Reply
from app.services.tasks.run import Assignment, TaskRun
from app.services.tasks.turns import Turns
from app.services.tasks.watch import Watch
from app.settings import AgentSettings
from app.sharing import Places
from app.store.model_store import StoredFile
from tcsfeel.wire.tasks import task_metadata

MIN_BYTES_FOR_BANDWIDTH = 1 << 18  # smaller bodies measure latency, not bandwidth
MOST_MOVES = 3  # of an agent within one task, after each of which it is asked anew
POLL_PAUSE = 1.0  # where an agent answers a long poll at once
BUSY_PAUSE = 1.0  # the first; it doubles, since each try may send the model again
LONGEST_BUSY_PAUSE = 30.0


class NotCalled(Exception):
    """No call went out, for a reason that does not count against the client."""


class _ShutOut(Exception):
    """The client's breaker has opened since its task was let through."""


class Dispatcher:
    """Runs tasks. How many calls there are at once is bounded over the whole process, and divided between trainings."""

    def __init__(
        self,
        *,
        caller: AgentCaller,
        breakers: Breakers,
        settings: AgentSettings,
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
    ) -> None:
        self._caller = caller
        self._breakers = breakers
        self._poll_seconds = settings.poll_seconds
        self._slow_seconds = settings.slow_seconds
        self._turns = Turns()
        self._concurrency = settings.concurrency
        self._places = Places(settings.concurrency)
        self._tasks = 0
        self._clock = clock
        self._metrics = metrics
        self._rng = rng

    async def run(self, run: TaskRun, assignment: Assignment, budget: RetryBudget) -> TaskRun:
        """Fill `run`. It ends with a file, or with a reason; the caller bounds its time by cancelling it.

        Raises `Fenced` where it failed, and the lease of its owner is lost.
        """
        run.asked_at = self._clock.now()
        self._tasks += 1
        try:
            with self._metrics.tasks_in_flight.track_inprogress():
                await self._try(run, assignment, budget)
        finally:
            self._tasks -= 1
        return run

    async def forget(self, agent: Profile, task_id: str) -> None:
        """Tell the agent that the task's result is stored or no longer wanted."""
        async with self.place():
            await self._caller.forget(agent, task_id)

    @asynccontextmanager
    async def place(self, patience: float | None = None) -> AsyncIterator[None]:
        """Hold a place for a call inside. Raises `NotCalled` where there is none for `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                holder = await self._places.take()
        except TimeoutError:
            raise NotCalled("the server had no free slot to call the agent") from None
        try:
            await self._turns.take()
            yield
        finally:
            self._places.give_back(holder)

    async def _try(self, run: TaskRun, assignment: Assignment, budget: RetryBudget) -> None:
        """Try until there is a result, or the tries, the budget or the breaker end it."""
        client_id = assignment.client.id
        known = waited = run.resumed
        moves = 0
        while True:
            try:
                run.file = await self._once(run, assignment, known=known, waited=waited)
            except _ShutOut:
                run.reason = run.reason or await self._breakers.why_open(client_id)
                return
            except AgentFailed as error:
                if moves < MOST_MOVES and await self._has_moved(run, assignment):
                    known, waited, moves = True, True, moves + 1
                    continue
                run.reason = str(error)
                await self._breakers.fail(client_id, assignment.failure(run.reason), under=assignment.lease)
                passing = error.passing
            else:
                run.reason = None
                return
            known, waited = False, True
            if not passing:
                return
            stored = await self._breakers.look(client_id)
            if stored is None or stored.breaker.state == "open" or not budget.spend(max(1, run.attempts)):
                return
            await self._clock.sleep(pause(max(1, run.attempts), self._rng))

    @asynccontextmanager
    async def _call(self, run: TaskRun, client: Client, *, waited: bool) -> AsyncIterator[Profile]:
        """Hold a place for one call of a task's agent, and tell where that is now. Raises `_ShutOut`.

        `waited`: something may have happened elsewhere.
        """
        waited = waited or self._places.crowded or self._breakers.seems_open(client.id)
        async with self.place():
            stored = await self._breakers.look(client.id) if waited else None
            if stored is not None:  # else nothing is known to have changed, or it was removed: its calls go on
                if stored.breaker.state == "open":
                    raise _ShutOut
                run.profile = stored.profile
            if run.started_at is None:
                run.started_at = self._clock.now()
            yield run.profile or client.profile

    async def _has_moved(self, run: TaskRun, assignment: Assignment) -> bool:
        """Whether the client says by now that its agent is somewhere else than where it was called."""
        called = run.profile or assignment.client.profile
        stored = await self._breakers.look(assignment.client.id)
        return stored is not None and (stored.profile.url, stored.profile.auth_token) != (called.url, called.auth_token)

    async def _once(self, run: TaskRun, assignment: Assignment, *, known: bool, waited: bool) -> StoredFile:
        """One try: hand over (unless the agent may know the task already), then poll until there is a result."""
        run.watch = Watch()
        attempt = max(1, run.attempts) if known else run.attempts + 1
        if known:
            reply = await self._poll(run, assignment, waited=waited)
        else:
            reply = await self._hand_over(run, assignment, attempt, waited=waited)
        forgotten = busy = 0
        polled = known
        while True:
            if reply.answer != "unknown":  # so it was handed over, by the owner of that time
                run.attempts = attempt
            match reply.answer:
                case "result" if reply.file is not None:
                    self._measure(run, assignment.client.id, reply.file.size, reply.seconds)
                    run.coding = reply.coding
                    return reply.file
                case "raised":
                    await self.forget(run.profile or assignment.client.profile, assignment.task.id)  # else it stays so
                    raise AgentFailed(f"its trainer failed: {reply.detail}", passing=reply.passing)
                case "cancelled":
                    raise AgentFailed("the agent cancelled the task")
                case "unknown":
                    forgotten += 1
                    if forgotten > MAX_TRIES:
                        raise AgentFailed(f"it answered 404 to {forgotten} polls of this task")
                    reply = await self._hand_over(run, assignment, attempt, waited=False)
                    continue
                case "busy":
                    busy += 1
                    await self._clock.sleep(_patience(reply, busy))
                case _:
                    pass
            reply = await self._poll(run, assignment, waited=polled)
            polled = True

    async def _poll(self, run: TaskRun, of: Assignment, *, waited: bool) -> Reply:
        """Wait at the agent, or here where it answers sooner than that, or where places are scarce."""
        loop = asyncio.get_running_loop()
        async with self._call(run, of.client, waited=waited) as agent:
            seconds = 0.0 if self._places.crowded else self._poll_seconds
            asked, began = loop.time(), self._clock.now()
            reply = await self._caller.poll(agent, of.task.id, seconds, of.spool, accept=of.accept, limit=of.limit)
        run.watch.note(reply, began, self._clock.now())
        if reply.answer == "working" and loop.time() - asked < self._poll_seconds / 2:
            await self._clock.sleep(POLL_PAUSE * max(1.0, self._tasks / self._concurrency))
        return reply

    async def _hand_over(self, run: TaskRun, assignment: Assignment, attempt: int, *, waited: bool) -> Reply:
        """``PUT`` the task, as often as the agent asks for patience."""
        client, task = assignment.client, assignment.task
        payload = assignment.model.payload(task_metadata(task))
        size = len(payload[0]) + len(payload[1])
        busy = 0
        while True:
            async with self._call(run, client, waited=waited) as agent:
                run.attempts = attempt
                run.bytes_sent += size
                self._metrics.count_bytes(client.id, sent=size)
                asked = self._clock.now()
                spool, accept, limit = assignment.spool, assignment.accept, assignment.limit
                reply = await self._caller.hand_over(agent, task.id, payload, spool, accept=accept, limit=limit)
            run.watch.note(reply, asked, self._clock.now())
            if reply.answer != "result":  # which took as long as it trained and sent it
                run.slow = run.slow or self._clock.now() - asked > self._slow_seconds
            if reply.answer != "busy":
                return reply
            busy, waited = busy + 1, True
            await self._clock.sleep(_patience(reply, busy))

    def _measure(self, run: TaskRun, client_id: str, size: int, seconds: float) -> None:
        run.bytes_received += size
        self._metrics.count_bytes(client_id, received=size)
        if size >= MIN_BYTES_FOR_BANDWIDTH and seconds > 0:
            run.bandwidth = size * 8 / 1e6 / seconds


def _patience(reply: Reply, times: int) -> float:
    """Seconds to leave an agent alone that was busy so many `times` in a row; more, if it says so."""
    return max(reply.retry_after or 0.0, min(LONGEST_BUSY_PAUSE, BUSY_PAUSE * 2.0 ** min(times - 1, 10)))
