"""The channel to agents that pull: tasks wait in the mailbox until their agents ask any server for them.

Tensors do not go through the database. A task names the file of the model store that holds its tensors, and its result
is another file there, so every server that shares the store can hand the task over or take the result (ADR 0020). A
file that a task names is not removed. As soon as a task is cancelled, its files are requested to be removed.
"""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from weakref import ref

from app.clock import Clock
from app.domain.clients import Endpoint, Health
from app.domain.errors import NotFound
from app.domain.liveness import silence
from app.domain.mailbox import MOST_TAKES, OPEN, MailedTask
from app.services.tasks.answers import AgentFailed
from app.services.tasks.bodies import Origin, TaskBody
from app.services.tasks.complaints import may_pass, read_complaint
from app.services.tasks.replies import Reply
from app.services.tasks.watching import TaskWatch
from app.store.database import Database
from app.store.model_store import FileTooLarge, ModelFiles, ModelStore, StoredFile
from app.store.removals import FileRemoved
from app.threads import in_thread
from app.traces import TRACEPARENT, Traces
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.headers import header
from tcsfeel.wire.tasks import Task

INITIAL_SECONDS = 3600.0  # that a question for initial parameters may be open; its asker gives up long before
WRITE_AGAIN_SECONDS = 0.5  # until a model is written again whose file was being removed
WRITTEN = 8  # models whose files are remembered, which are those of about as many phases of rounds
_NO_TENSORS = Packed({}, memoryview(b""))
_INTERNAL_ERROR = 500


class Mailbox:
    """The `Channel` to agents that pull.

    Args:
        files: the model store, which all servers share.
        watch: wakes this server's owners.
        max_bytes: the most that initial parameters may have.
        interval: seconds within which an agent has to give a sign of life.
        traces: names the step that offers a task, for its agent.
    """

    def __init__(
        self,
        db: Database,
        files: ModelFiles,
        clock: Clock,
        watch: TaskWatch,
        *,
        max_bytes: int,
        interval: float,
        traces: Traces,
    ) -> None:
        self._db = db
        self._files = files
        self._clock = clock
        self._watch = watch
        self._max_bytes = max_bytes
        self._interval = interval
        self._traces = traces
        self._writing = asyncio.Lock()
        self._written: deque[tuple[ref[Packed], str, float]] = deque(
            maxlen=WRITTEN
        )  # which the next tasks may carry too

    async def health(self, agent: Endpoint) -> Health:
        """Tell whether the agent has given a sign of life lately."""
        async with self._db.glance() as tx:
            found = await tx.clients.some([agent.client_id])
        if found and silence(found[0], self._clock.now(), self._interval) <= self._interval:
            return Health(alive=True)
        return Health(alive=False, silence=f"the agent has not asked for a task for {self._interval:g} s")

    async def initial_model(
        self, agent: Endpoint, store: ModelStore, *, local: Sequence[str] = (), task_id: str = ""
    ) -> StoredFile:
        """Ask for initial parameters, until they are there or the caller gives up. Raises `AgentFailed`."""
        training_id, number = task_id.split(".")[:2]
        task = Task(
            id=task_id,
            kind="model",
            training_id=training_id,
            round=int(number),
            deadline_seconds=INITIAL_SECONDS,
            local_tensors=tuple(local),
        )
        body = TaskBody(*_NO_TENSORS.payload(), origin=Origin(task, _NO_TENSORS))
        try:
            reply = await self.hand_over(agent, task_id, body, store, limit=self._max_bytes)
            while reply.file is None:
                if reply.answer == "raised":
                    raise AgentFailed(reply.detail, passing=reply.passing, traceback=reply.traceback)
                if reply.answer == "unknown":
                    raise AgentFailed("the question for initial parameters was cancelled")
                reply = await self.poll(agent, task_id, self._interval, store, limit=self._max_bytes)
            return reply.file
        finally:
            await self.forget(agent, task_id)

    async def has_frozen(self, agent: Endpoint, frozen_id: str) -> bool:
        """Return False, because the agent cannot be asked: frozen tensors are sent to it with every task."""
        del agent, frozen_id
        return False

    async def hand_over(
        self,
        agent: Endpoint,
        task_id: str,
        body: TaskBody,
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
        partly: bool = False,
    ) -> Reply:
        """Offer a task. If its result is there already, it is returned. Raises `AgentFailed`."""
        del partly
        origin = body.origin
        if origin is None:
            raise ValueError(f"the body of the task {task_id} does not say what it was made from")
        now = self._clock.now()
        task = MailedTask(
            id=task_id,
            client_id=agent.client_id,
            training_id=origin.task.training_id,
            round=origin.task.round,
            kind=origin.task.kind,
            document=origin.task.to_json(),
            accept=accept,
            most_bytes=self._max_bytes if limit is None else min(limit, self._max_bytes),
            offered_at=now,
            deadline_at=now + origin.task.deadline_seconds,
            traceparent=self._traces.headers().get(TRACEPARENT),
        )
        while True:
            try:
                return await self._replied(await self._offer(task, origin), spool)
            except FileRemoved:
                self._written.clear()
                await self._clock.sleep(WRITE_AGAIN_SECONDS)

    async def poll(
        self,
        agent: Endpoint,
        task_id: str,
        wait: float,
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
    ) -> Reply:
        """Wait for the delivery of a task. Raises `AgentFailed`."""
        del agent, accept, limit  # the task has them
        task = await self._find(task_id)
        if task is None or task.state not in OPEN:
            return await self._replied(task, spool)
        loop = asyncio.get_running_loop()
        ends = loop.time() + wait
        while task is not None and task.state in OPEN and task.attempts <= MOST_TAKES and loop.time() < ends:
            with self._watch.owner(task_id, task.state) as changed:
                task = await self._find(task_id)  # again, since it may have changed before the wait began
                if task is not None and task.state in OPEN:
                    try:
                        async with asyncio.timeout_at(ends):
                            await changed.wait()
                    except TimeoutError:
                        break
                    task = await self._find(task_id)
        return await self._replied(task, spool)

    async def forget(self, agent: Endpoint, task_id: str) -> None:
        """Cancel a task, so that its agent stops."""
        del agent
        async with self._db.begin() as tx:
            freed = await tx.mailbox.cancel([task_id])
            if freed:
                await tx.removals.request(freed, at_once=True)
        self._watch.hint()

    def moved_at(self, agent: Endpoint, task_id: str) -> float | None:
        """Return when bytes of a task were last seen to move, unix seconds, and forget it; None if they were not."""
        del agent
        return self._watch.moved_at(task_id)

    async def _find(self, task_id: str) -> MailedTask | None:
        async with self._db.glance() as tx:
            return await tx.mailbox.find(task_id)

    async def _offer(self, task: MailedTask, origin: Origin) -> MailedTask:
        """Write what is needed, and offer the task. Raises `FileRemoved`."""
        file, since = await self._file_of(origin)
        async with self._db.begin() as tx:  # it locks the task before its files, as `cancel` does
            offered = await tx.mailbox.offer(replace(task, model=file, offered_at=self._clock.now()))
            if file is not None:
                await tx.removals.check([file], since)
        self._watch.hint()
        return offered

    async def _file_of(self, origin: Origin) -> tuple[str | None, float]:
        """Return the file with the tensors of a task, and a time of the database before it was written."""
        if origin.model.block.nbytes == 0 and not origin.model.layout:
            return None, 0.0
        async with self._writing:
            for model, name, since in self._written:
                if model() is origin.model:
                    return name, since
            async with self._db.glance() as tx:
                since = await tx.now()
            stored = await in_thread("files", self._files.write, _pieces(origin.model))
            self._written.append((ref(origin.model), stored.sha256, since))
            return stored.sha256, since

    async def _replied(self, task: MailedTask | None, spool: ModelStore) -> Reply:
        """Say how far a task has come, and bring its result into the spool. Raises `AgentFailed`."""
        if task is None or task.state == "cancelled":
            return Reply("unknown")
        if task.state != "delivered":
            if task.attempts > MOST_TAKES:
                await self.forget(Endpoint(None), task.id)
                raise AgentFailed(f"the agent asked {task.attempts} times for this task and has not finished it")
            return Reply("working" if task.state == "taken" else "offered", sent=task.bytes_sent)
        if task.failure is not None:
            try:
                return _failed(task)
            except AgentFailed as error:
                if error.passing:  # else another try would get the same answer
                    await self.forget(Endpoint(None), task.id)
                raise
        try:
            file = await in_thread("files", _fetched, self._files, task, spool)
        except NotFound:  # its file is gone from the store: another try is needed
            await self.forget(Endpoint(None), task.id)
            return Reply("unknown")
        return Reply(
            "result",
            file,
            task.coding,
            task.seconds,
            evidence=task.evidence,
            sent=task.bytes_sent,
            worked=task.worked_seconds,
        )


def _pieces(model: Packed) -> chain[bytes | memoryview]:
    step = 1 << 20
    blocks = (model.block[start : start + step] for start in range(0, len(model.block), step))
    return chain([header(model.layout)], blocks)


def _fetched(files: ModelFiles, task: MailedTask, spool: ModelStore) -> StoredFile:
    """Copy a result into the spool. Raises `NotFound`."""
    mapped = files.map(task.result or "")
    if len(mapped) > task.most_bytes:
        raise FileTooLarge(task.most_bytes)
    step = 1 << 20
    return spool.write(mapped[start : start + step] for start in range(0, len(mapped), step))


def _failed(task: MailedTask) -> Reply:
    """Read the problem document that an agent has delivered. Raises `AgentFailed` if it refuses the task."""
    said = (task.failure or "").encode()
    complaint = read_complaint(said, "")
    status = _status_of(said)
    if status == _INTERNAL_ERROR:
        return Reply(
            "raised",
            detail=complaint.text,
            passing=complaint.passing,
            traceback=complaint.traceback,
            sent=task.bytes_sent,
        )
    passing = complaint.again or (complaint.passing and may_pass(status))
    raise AgentFailed(f"the agent refused the task with {status}: {complaint.text}".removesuffix(": "), passing=passing)


def _status_of(document: bytes) -> int:
    """Return the status that a problem document names; 500 if it names none."""
    try:
        status = json.loads(document).get("status")
    except (ValueError, AttributeError, RecursionError):
        return _INTERNAL_ERROR
    return status if isinstance(status, int) and not isinstance(status, bool) else _INTERNAL_ERROR
