"""One task at one agent, from the hand-over to a result in the spool, with retries inside a deadline and a budget.

A task that was handed over before (the coordinator restarted, or another replica took over) is polled first: the agent
keeps results until they are deleted, so nothing is trained twice. 404 means that the agent forgot it: it is handed over
again, which costs no retry. To an agent that pulls it is offered again, which changes nothing but its deadline: a round
that was interrupted ends later.

A task was let through by its client's breaker when it was planned, or needed no permit. No call goes out any more once
the breaker has opened, by this task's failures or by another training's: a breaker that this process has opened is
known at once, and after every wait the stored one is looked at. That look also tells where the agent is by now: one
that moved is asked at its new address for the task that it has, and a call that failed at the old one is no failure.

A call holds one of the places that all trainings share, a task does not. While a trainer works, only a long poll holds
one. Where places are scarce, agents answer polls at once, and are asked more rarely. So there is no bound on the
number of tasks, and a slow trainer does not keep another client from being contacted. An agent that pulls is not
called, so its task needs no place.
"""

import asyncio
import random
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace

from app.clock import Clock
from app.domain.clients import Endpoint
from app.domain.failures import FailureKind
from app.domain.retries import MAX_TRIES, RetryBudget, busy_pause, pause
from app.domain.tasks import TaskRun, Watch
from app.metrics import Metrics
from app.services.tasks.answers import AgentFailed
from app.services.tasks.assignments import Assignment, Result, TaskOutcome
from app.services.tasks.breakers import Breakers
from app.services.tasks.channels import Channel
from app.services.tasks.pursuits import Pursuit
from app.services.tasks.replies import Reply
from app.services.tasks.sources import Sources
from app.settings import AgentSettings
from app.sharing import Places
from app.turns import Turns

MIN_BYTES_FOR_BANDWIDTH = 1 << 18  # smaller bodies measure latency, not bandwidth
MOST_MOVES = 3  # of an agent within one task, after each of which it is asked anew
POLL_PAUSE = 1.0  # where an agent answers a long poll at once


class NotCalled(Exception):
    """No call was made, for a reason that does not count against the client."""


class _ShutOut(Exception):
    """The client's breaker has opened since its task was admitted."""


class Dispatcher:
    """Runs tasks. How many calls there are at once is bounded over the whole process, and divided between trainings."""

    def __init__(
        self,
        *,
        caller: Channel,
        breakers: Breakers,
        settings: AgentSettings,
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
        sources: Sources | None = None,
    ) -> None:
        self._caller = caller
        self._sources = sources
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

    async def run(self, assignment: Assignment, runs: MutableMapping[str, TaskRun], budget: RetryBudget) -> TaskOutcome:
        """Run a task to its end. The caller bounds its time by cancelling it.

        From the first moment on, `runs` holds under the client's id how far the task has come, also when it is
        cancelled. Raises `Fenced` where the task failed and the lease of its owner is lost.
        """
        task = Pursuit(assignment, runs, assignment.client.endpoint)
        task.run = replace(assignment.run, asked_at=self._clock.now())
        self._tasks += 1
        try:
            with self._metrics.tasks_in_flight.track_inprogress():
                return await self._try(task, budget)
        finally:
            self._tasks -= 1
            moved_at = self._caller.moved_at(task.agent, assignment.task.id)
            if moved_at is not None and not task.run.answered:
                task.run = replace(task.run, moved_at=moved_at)

    async def forget(self, agent: Endpoint, task_id: str) -> None:
        """Tell the agent that the task's result is stored or no longer wanted."""
        async with self.place():
            await self._caller.forget(agent, task_id)

    @asynccontextmanager
    async def place(self, patience: float | None = None) -> AsyncIterator[None]:
        """Hold a place for a call inside. Raises `NotCalled` where there is none for `patience` seconds."""
        holder = await self._places.take() if patience is None else await self._place_within(patience)
        try:
            await self._turns.take()
            yield
        finally:
            self._places.give_back(holder)

    async def _place_within(self, patience: float) -> str:
        """Take a place. Raises `NotCalled`."""
        try:
            async with asyncio.timeout(patience):
                return await self._places.take()
        except TimeoutError:
            raise NotCalled("the server had no free slot to call the agent") from None

    async def _try(self, task: Pursuit, budget: RetryBudget) -> TaskOutcome:
        """Try until there is a result, or until the tries, the budget or the breaker end it."""
        assignment = task.assignment
        client_id = assignment.client.id
        known = waited = assignment.run.resumed
        reason: str | None = None
        traceback: str | None = None
        kind: FailureKind | None = None
        moves = 0
        while True:
            try:
                result = await self._once(task, known=known, waited=waited)
            except _ShutOut:
                why = reason or await self._breakers.why_open(client_id)
                return TaskOutcome(task.run, reason=why, kind=kind, traceback=traceback)
            except AgentFailed as error:
                if moves < MOST_MOVES and await self._has_moved(task):
                    known, waited, moves = True, True, moves + 1
                    continue
                reason = str(error)
                failure, lease = assignment.failure(reason, error.kind), assignment.lease
                stored = await self._breakers.fail(client_id, failure, under=lease, at=task.agent, doubt=error.doubt)
                passing, kind, traceback = error.passing, error.kind, error.traceback
            else:
                return TaskOutcome(task.run, result)
            known, waited = False, True
            tries = max(1, task.run.attempts)
            if not passing:
                return TaskOutcome(task.run, reason=reason, kind=kind, traceback=traceback)
            if stored is None or stored.breaker.state == "open" or not budget.spend(tries):
                return TaskOutcome(task.run, reason=reason, kind=kind, traceback=traceback)
            await self._clock.sleep(pause(tries, self._rng))

    @asynccontextmanager
    async def _call(self, task: Pursuit, *, waited: bool) -> AsyncIterator[Endpoint]:
        """Hold a place for one call of a task's agent, and give where the agent is now. Raises `_ShutOut`.

        `waited` says that something may have happened elsewhere since the client was last looked at.
        """
        client_id = task.assignment.client.id
        waited = waited or self._places.crowded or self._breakers.seems_open(client_id)
        async with nullcontext() if task.agent.pulls else self.place():
            stored = await self._breakers.look(client_id) if waited else None
            if stored is not None:  # else nothing is known to have changed, or it was removed: its calls go on
                if stored.breaker.state == "open":
                    raise _ShutOut
                if task.agent.pulls and not stored.endpoint.pulls:  # nobody asks the mailbox for it any more
                    await self._caller.forget(task.agent, task.assignment.task.id)
                task.agent = stored.endpoint
                if stored.has_to_prove and task.identified != task.agent:
                    await self._identify(task)
            if task.run.started_at is None:
                task.run = replace(task.run, started_at=self._clock.now())
            yield task.agent

    async def _identify(self, task: Pursuit) -> None:
        """Let an address that was registered during the task prove that it is the device's. Raises `AgentFailed`."""
        health = await self._caller.health(task.agent)
        if not health.alive:
            raise AgentFailed(f"unproven: {health.doubt or health.silence}", doubt=health.doubt)
        task.identified = task.agent

    async def _has_moved(self, task: Pursuit) -> bool:
        """Tell whether the client has registered another address than the one that was called."""
        called, stored = task.agent, await self._breakers.look(task.assignment.client.id)
        return stored is not None and stored.endpoint != called

    async def _once(self, task: Pursuit, *, known: bool, waited: bool) -> Result:
        """Make one attempt: hand over, unless the agent may know the task already, then poll for the result."""
        task.watch = Watch()
        attempt = max(1, task.run.attempts) if known else task.run.attempts + 1
        if known and not task.agent.pulls:
            reply = await self._poll(task, waited=waited)
        else:  # in the mailbox, a task that is known gets the present end of its round
            reply = await self._hand_over(task, attempt, waited=waited)
        forgotten = busy = 0
        polled = known
        while True:
            if reply.answer != "unknown" and task.run.attempts != attempt:  # an earlier owner has handed it over
                task.run = replace(task.run, attempts=attempt)
            match reply.answer:
                case "result" if reply.file is not None:
                    self._measure(task, reply.file.size, reply.seconds)
                    worked = task.watch.seconds if reply.worked is None else reply.worked
                    return Result(reply.file, reply.coding, worked, reply.seconds, reply.evidence)
                case "raised":
                    await self.forget(task.agent, task.assignment.task.id)  # else its answer stays the same
                    reason = f"its trainer failed: {reply.detail}"
                    raise AgentFailed(reason, passing=reply.passing, traceback=reply.traceback)
                case "cancelled":
                    raise AgentFailed("the agent cancelled the task")
                case "unknown":
                    forgotten += 1
                    if forgotten > MAX_TRIES:
                        raise AgentFailed(f"it answered 404 to {forgotten} polls of this task")
                    reply = await self._hand_over(task, attempt, waited=False)
                    continue
                case "busy":
                    busy += 1
                    await self._clock.sleep(busy_pause(busy, reply.retry_after or 0.0))
                case _:
                    pass
            reply = await self._poll(task, waited=polled)
            polled = True

    async def _poll(self, task: Pursuit, *, waited: bool) -> Reply:
        """Wait at the agent, or here if it answers sooner than that or if places are scarce."""
        loop = asyncio.get_running_loop()
        of = task.assignment
        async with self._call(task, waited=waited) as agent:
            seconds = 0.0 if self._places.crowded and not agent.pulls else self._poll_seconds
            asked, began = loop.time(), self._clock.now()
            reply = await self._caller.poll(agent, of.task.id, seconds, of.spool, accept=of.accept, limit=of.limit)
        self._watch(task, reply, began)
        self._count_sent(task, reply)
        if reply.answer == "working" and loop.time() - asked < self._poll_seconds / 2:
            await self._clock.sleep(POLL_PAUSE * max(1.0, self._tasks / self._concurrency))
        return reply

    async def _hand_over(self, task: Pursuit, attempt: int, *, waited: bool) -> Reply:
        """``PUT`` the task, and again each time that the agent answers that it is busy.

        Frozen tensors are sent with it unless the agent has kept them.
        """
        of = task.assignment
        busy, lacking = 0, False
        while True:
            async with self._call(task, waited=waited) as agent:
                partly = of.frozen is not None and not lacking and await self._caller.has_frozen(agent, of.frozen.id)
                body = task.body(partly=partly)
                body = body if self._sources is None else await self._sources.in_place_of(body, agent)
                size = 0 if agent.pulls else len(body)  # one that pulls gets the body when it asks for it
                self._sent(task, size, attempts=attempt)
                asked = self._clock.now()
                reply = await self._caller.hand_over(
                    agent, of.task.id, body, of.spool, accept=of.accept, limit=of.limit, partly=partly
                )
            self._watch(task, reply, asked)
            self._count_sent(task, reply)
            if reply.answer == "lacking":  # it has lost the frozen tensors since it was asked for them
                lacking = True
                continue
            # A result comes only after the agent has trained and sent it, so its time says nothing of the hand-over.
            if reply.answer != "result" and self._clock.now() - asked > self._slow_seconds:
                task.run = replace(task.run, slow=True)
            if reply.answer != "busy":
                return reply
            busy, waited = busy + 1, True
            await self._clock.sleep(busy_pause(busy, reply.retry_after or 0.0))

    def _watch(self, task: Pursuit, reply: Reply, asked: float) -> None:
        task.watch = task.watch.after(reply.answer, asked=asked, now=self._clock.now(), body_seconds=reply.seconds)

    def _count_sent(self, task: Pursuit, reply: Reply) -> None:
        """Count the bytes that an agent that pulls was sent for this task, as far as they were not counted before."""
        if reply.sent is not None and (more := reply.sent - task.run.sent_before - task.run.bytes_sent) > 0:
            self._sent(task, more)

    def _sent(self, task: Pursuit, size: int, *, attempts: int | None = None) -> None:
        run = task.run
        attempts = run.attempts if attempts is None else attempts
        task.run = replace(run, bytes_sent=run.bytes_sent + size, attempts=attempts)
        self._metrics.count_bytes(task.assignment.client.id, sent=size)

    def _measure(self, task: Pursuit, size: int, seconds: float) -> None:
        """Count the bytes of a result, and measure the bandwidth if the result is large enough."""
        bandwidth = size * 8 / 1e6 / seconds if size >= MIN_BYTES_FOR_BANDWIDTH and seconds > 0 else None
        received = task.run.bytes_received + size
        task.run = replace(task.run, answered=True, bytes_received=received, bandwidth=bandwidth)
        self._metrics.count_bytes(task.assignment.client.id, received=size)
