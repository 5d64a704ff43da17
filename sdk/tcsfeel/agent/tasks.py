"""The tasks of one agent.

Rules:

- A task id is trained at most once until it is deleted, however often it is sent and whatever its outcome was.
- One agent trains one task at a time, in the order of arrival, off the event loop. A trainer needs no locks.
- A thread cannot be killed. Deleting a running task marks it as cancelled, and its result is thrown away when the
  thread returns; a trainer that calls `task_cancelled` can return sooner. If the task is sent again, it is new work,
  which begins after the old thread has returned.
- A result stays until it is deleted, or until an hour after the task's deadline, so that nothing grows for ever.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING

from tcsfeel.agent.control import Controls, seen
from tcsfeel.agent.entries import OVER, TRANSITIONS, Entry, Outcome
from tcsfeel.agent.errors import BrokenResult
from tcsfeel.agent.failures import MISTAKES, failure, last_lines
from tcsfeel.agent.feedback import Feedback
from tcsfeel.agent.fetching import Fetch
from tcsfeel.agent.frozen import FrozenCheck
from tcsfeel.agent.local import LocalTensors
from tcsfeel.agent.results import NOTHING, Update, evaluate_payload, fitted, nothing_held_out
from tcsfeel.agent.trainer import Evaluator, Trainer
from tcsfeel.wire.codec import Packed, Parameters, pack
from tcsfeel.wire.differences import known
from tcsfeel.wire.digests import digest_of
from tcsfeel.wire.groups import matching, unmatched
from tcsfeel.wire.tasks import Task

if TYPE_CHECKING:
    from tcsfeel.agent.subtrees import Group

RETENTION_SECONDS = 3600.0
COUNTED_IDS = 1000  # `trained` remembers this many task ids

_log = logging.getLogger(__name__)
_running: ContextVar[Entry | None] = ContextVar("running", default=None)


def task_cancelled() -> bool:
    """Tell a trainer whether its running task is no longer wanted, so that it can raise or return early."""
    entry = _running.get()
    return entry is not None and entry.unwanted.is_set()


def seconds_left() -> float:
    """Tell a trainer in how many seconds to return what it has, in time to send it; inf if only whole work counts."""
    entry = _running.get()
    return math.inf if entry is None else entry.left()


class TaskTable:
    """The tasks of one agent. Call its methods only in the event loop's thread.

    Attributes:
        trained: how often the trainer was really called for each of the last task ids.
    """

    def __init__(
        self,
        trainer: Trainer,
        executor: Executor,
        *,
        clock: Callable[[], float] = time.monotonic,
        retention_seconds: float = RETENTION_SECONDS,
        local: LocalTensors | None = None,
    ) -> None:
        self.trained: Counter[str] = Counter()
        self._trainer = trainer
        self._executor = executor
        self._clock = clock
        self._retention = retention_seconds
        self._entries: dict[str, Entry] = {}
        self._feedback = Feedback(clock)
        self._local = local or LocalTensors()
        self._controls = Controls(clock)
        self._frozen_check = FrozenCheck()
        self._turn = asyncio.Lock()
        self._works: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, task_id: str) -> Entry | None:
        """Return the task in its present state; None if it is unknown or was deleted."""
        self.expire()
        return self._entries.get(task_id)

    def submit(
        self,
        task: Task,
        parameters: Parameters,
        frozen: Parameters = NOTHING,
        group: "Group | None" = None,
        fetch: Fetch | None = None,
    ) -> Entry:
        """Accept a task, or return the entry of a task that has the same id.

        The update is to hold the tensors of `parameters`, or those that `fetch` brings. The trainer gets the `frozen`
        ones and the local ones too. If the agent is a relay, the `group` has its children.
        """
        entry = self.find(task.id)
        if entry is None or entry.state in OVER:
            ends, margin = self._clock() + task.deadline_seconds, task.partial_margin
            entry = Entry(task, ends + self._retention, lambda: ends - margin - self._clock() if margin else math.inf)
            self._entries[task.id] = entry
            work = asyncio.get_running_loop().create_task(self._work(entry, parameters, frozen, group, fetch))
            self._works.add(work)
            work.add_done_callback(self._works.discard)
        return entry

    async def wait(self, task_id: str, seconds: float) -> Entry | None:
        """Do what `find` does, but for a running task wait until it has ended or `seconds` have passed."""
        entry = self.find(task_id)
        if entry is not None:
            await self.settle(entry, seconds)
        return entry

    async def settle(self, entry: Entry, seconds: float) -> None:
        """Wait until the task has ended, or `seconds` have passed."""
        if entry.state == "running" and seconds > 0 and not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await entry.settled.wait()

    def delete(self, task_id: str) -> None:
        """Stop a task and delete it. Does nothing for an unknown task."""
        entry = self._entries.get(task_id)
        if entry is not None:
            self._apply(entry, Outcome("deleted"))

    def expire(self) -> None:
        """Delete the tasks whose deadline passed an hour ago."""
        self._feedback.expire()
        self._controls.expire()
        now = self._clock()
        for entry in [entry for entry in self._entries.values() if entry.expires_at <= now]:
            self._apply(entry, Outcome("deleted"))

    async def initial_model(self, local: Collection[str] = ()) -> tuple[Packed, tuple[str, ...]]:
        """Get the trainer's initial parameters, when it is this request's turn, without those that stay here.

        `local` are patterns for names of tensors. The answer also has those patterns that match none.

        Raises:
            BrokenResult: the trainer raised an error, or returned something that cannot be sent.
        """
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._pack_initial, local)

    def close(self) -> None:
        """Cancel all tasks, tell the trainer, and end all waits with the present state of their tasks."""
        self._closed = True
        for entry in self._entries.values():
            entry.unwanted.set()
            entry.settled.set()

    async def _work(
        self,
        entry: Entry,
        parameters: Parameters,
        frozen: Parameters,
        group: "Group | None",
        fetch: Fetch | None,
    ) -> None:
        if fetch is not None:
            found = await fetch(entry)
            if isinstance(found, Outcome):
                self._apply(entry, found)
                return
            parameters = found
        collecting = None if group is None else asyncio.create_task(group.collect())
        try:
            async with self._turn:
                if self._closed:
                    return
                loop = asyncio.get_running_loop()
                lost = self._feedback.of(entry.task, parameters)
                outcome = await loop.run_in_executor(self._executor, self._train, entry, parameters, frozen, lost)
                if group is None:
                    self._apply(entry, outcome)
            if group is not None and collecting is not None:
                self._apply(entry, await self._with_children(entry, group, collecting, outcome))
        finally:
            if collecting is not None:
                collecting.cancel()

    async def _with_children(
        self, entry: Entry, group: "Group", collecting: "asyncio.Task[None]", outcome: Outcome
    ) -> Outcome:
        """Give the outcome of a relay's task, once it has those of its children or is no longer wanted."""
        await entry.unless_settled(collecting)
        if outcome.update is None or entry.unwanted.is_set() or self._closed:
            return outcome
        loop = asyncio.get_running_loop()
        try:
            update = await loop.run_in_executor(self._executor, group.combined, outcome.update)
            digest = await loop.run_in_executor(self._executor, digest_of, update.payload)
        except Exception as error:  # noqa: BLE001  (else the task would never end)
            _log.exception("the updates of task %s could not be averaged", entry.task.id)
            return Outcome("raised", failure=f"it could not average the updates of its children: {failure(error)}")
        return replace(outcome, update=update, digest=digest)

    def _apply(self, entry: Entry, outcome: Outcome) -> None:
        state = TRANSITIONS[entry.state, outcome.event]
        if state is None:
            if self._entries.get(entry.task.id) is entry:
                del self._entries[entry.task.id]
            return
        entry.state = state
        entry.failure, entry.traceback, entry.broken = outcome.failure, outcome.traceback, outcome.broken
        if outcome.update is not None:
            entry.payload, entry.digest = outcome.update.payload, outcome.digest
            if outcome.update.lost is not None:
                self._feedback.keep(entry.task.training_id, outcome.update.lost, entry.expires_at)
        if outcome.control is not None:
            self._controls.keep(entry.task, outcome.control)
        if state == "cancelled":
            entry.unwanted.set()
        entry.settled.set()

    def _pack_initial(self, local: Collection[str]) -> tuple[Packed, tuple[str, ...]]:
        try:
            initial = self._trainer.initial_parameters()
            kept = matching(initial, local)
            sent = {name: tensor for name, tensor in initial.items() if name not in kept}
            return pack(sent), unmatched(initial, local)
        except BaseException as error:
            _log.warning("initial_parameters failed", exc_info=error)
            raise BrokenResult(failure(error)) from error

    def _train(self, entry: Entry, parameters: Parameters, frozen: Parameters, lost: Parameters) -> Outcome:
        """Runs in a worker thread; `lost` as for `fitted`.

        Never raises: a trainer's SystemExit would end the event loop.
        """
        if entry.unwanted.is_set():
            return Outcome("returned")
        self._count(entry.task.id)
        token = _running.set(entry)
        started, control = self._clock(), None
        try:
            local = self._local.of(entry.task, self._trainer)
            given = {**parameters, **frozen, **local}
            if entry.task.kind == "fit":
                correction = self._controls.correction(entry.task)
                result = self._trainer.fit(given, replace(entry.task, correction=correction))
                update = fitted(
                    result,
                    parameters,
                    self._clock() - started,
                    known(entry.task.update_encoding),
                    lost,
                    local=local,
                    frozen=frozen,
                    partial=entry.task.partial_margin > 0,
                )
                self._frozen_check.after_fit(entry.task, result.parameters, frozen)
                if entry.task.control_round is not None:
                    trained = seen(update.trained, lost, update.lost)
                    control = self._controls.after(entry.task, correction, parameters, trained, result.num_steps)
                if not entry.unwanted.is_set():
                    self._local.keep(entry.task, update.local)
            elif not isinstance(self._trainer, Evaluator):
                update = Update(nothing_held_out())
            else:
                measured = self._trainer.evaluate(given, entry.task)
                update = Update(evaluate_payload(measured, self._clock() - started))
        except BaseException as error:  # noqa: BLE001  (it is third-party code; see above)
            _log.warning("task %s failed", entry.task.id, exc_info=error, extra={"task_id": entry.task.id})
            return Outcome(
                "raised", failure=failure(error), traceback=last_lines(error), broken=isinstance(error, MISTAKES)
            )
        else:
            return Outcome("returned", update, digest_of(update.payload), control)
        finally:
            _running.reset(token)

    def _count(self, task_id: str) -> None:
        self.trained[task_id] += 1
        if len(self.trained) > COUNTED_IDS:
            del self.trained[next(iter(self.trained))]
