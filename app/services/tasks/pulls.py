"""Give tasks to agents that ask for them.

An agent names the tasks that it has. It gets the oldest open task that is not among them, and is told which of them are
no longer wanted. So nothing is lost when an answer breaks off or an agent restarts: the next question does not name the
task, and it is sent again.

An agent that finds nothing is told when to come back. These times are spread, so that a fleet does not come at once.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.clock import Clock
from app.domain.errors import IllegalTransition, NotFound, Removed
from app.domain.mailbox import LATE, MOST_KNOWN, OPEN, MailedTask
from app.metrics import Metrics
from app.services.tasks.bodies import TaskBody
from app.services.tasks.signer import Signer
from app.services.tasks.sources import Sources
from app.services.tasks.watching import News, TaskWatch
from app.store.database import Database
from app.store.model_store import ModelFiles, StoredFile
from app.threads import in_thread
from app.traces import TRACEPARENT
from tcsfeel.wire.codec import Packed, unpack
from tcsfeel.wire.digests import CONTENT_DIGEST
from tcsfeel.wire.records import from_json
from tcsfeel.wire.tasks import Task, task_metadata

LONGEST_WAIT_SHARE = 0.8  # of the interval in which an agent has to give a sign of life
BUSY_SHARE = 0.9  # of the places for agents that wait, from which on further agents are sent away for longer
LATER_SECONDS = 10.0  # about how long an agent stays away that was sent away
SPREAD = 0.2  # share of a wait by which it may be shorter, so that agents do not come back together
_NO_TENSORS = Packed({}, memoryview(b""))

Departure = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that an agent gets, with what it is sent and the headers that describe that."""

    task: MailedTask
    body: TaskBody
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is no task for an agent. It should ask again after `retry_after` seconds."""

    retry_after: int
    unwanted: tuple[str, ...] = ()


class _Asked(NamedTuple):
    """How an agent wants its task: the value of its ``Accept-Signature``, and what it says of parameters by URL."""

    signature: str
    by_url: str


class Pulls:
    """What agents that pull ask of this server.

    Args:
        files: the model store, which all servers share.
        longest_wait: seconds for which an agent may wait, which is less than it may be silent.
        sources: names the URLs of parameters, for agents that say that they fetch them.
    """

    def __init__(
        self,
        db: Database,
        files: ModelFiles,
        clock: Clock,
        watch: TaskWatch,
        *,
        signer: Signer,
        metrics: Metrics,
        longest_wait: float,
        rng: random.Random,
        sources: Sources,
    ) -> None:
        self._db = db
        self._files = files
        self._clock = clock
        self._watch = watch
        self._signer = signer
        self._metrics = metrics
        self._longest_wait = longest_wait
        self._rng = rng
        self._sources = sources

    async def next(
        self,
        client_id: str,
        known: Collection[str],
        wait: float,
        departure: Departure,
        *,
        signature: str = "",
        by_url: str = "",
    ) -> Taken | Nothing:
        """Give the next task that an agent does not know, and wait for one for up to `wait` seconds.

        `departure` raises an error when the caller hangs up, and so does this then. `signature` is the value of the
        caller's ``Accept-Signature``, and `by_url` what it says of parameters by URL. Raises `NotFound` if there is no
        such client.
        """
        asked = _Asked(signature, by_url)
        loop = asyncio.get_running_loop()
        ends = loop.time() + min(wait, self._longest_wait) * (1.0 - SPREAD * self._rng.random())
        if wait <= 0 or self._watch.may_have(client_id, known):
            taken = await self._take(client_id, known, asked)
            if taken is not None:
                return taken
        while True:
            if self._watch.load >= BUSY_SHARE:
                return Nothing(self._later())
            with self._watch.agent(client_id, known) as news:
                told = await _first(news, departure, ends - loop.time())
            if told is None:
                return Nothing(0 if wait > 0 else self._later())
            if told.leave:
                return Nothing(self._later())
            if told.task and (taken := await self._take(client_id, known, asked)) is not None:
                return taken
            if told.unwanted:
                return Nothing(0, told.unwanted)

    async def again(self, client_id: str, task_id: str) -> Taken:
        """Give the body of a task once more that its agent was sent last: the same bytes, of which it has a part.

        Raises:
            NotFound: this client has no such task, or its agent has not taken it since it was offered.
            Removed: the task is no longer wanted.
            IllegalTransition: its result is there.
        """
        async with self._db.glance() as tx:
            task = await tx.mailbox.find(task_id)
        if task is None or task.client_id != client_id:
            raise NotFound("task", task_id)
        if task.state == "cancelled":
            raise Removed("task", task_id, LATE)
        if task.state not in OPEN:
            raise IllegalTransition(task.state, "take")
        if task.sent_seconds is None or task.sent_digest is None:
            raise NotFound("body of the task", task_id)
        body = await in_thread("files", _body, self._files, task, task.sent_seconds)
        self._metrics.transfers_resumed.labels("pull", "task").inc()
        return Taken(task, body, _described(task, task.sent_digest))

    async def _take(self, client_id: str, known: Collection[str], asked: _Asked) -> Taken | None:
        if len(known) >= MOST_KNOWN:  # it could not name a further one
            return None
        async with self._db.glance() as tx:
            task = await tx.mailbox.untaken(client_id, known, self._clock.now())
        if task is None:
            return None
        async with self._db.glance() as tx:
            agent = (await tx.clients.get(client_id, labels=False)).endpoint
        seconds = max(1.0, task.deadline_at - self._clock.now())
        try:
            named = await self._named(task, seconds, asked.by_url)
            body = await in_thread("files", _body, self._files, task, seconds) if named is None else named
        except NotFound:  # its file is gone from the store: the owner of the round offers the task again
            async with self._db.begin() as tx:
                await tx.mailbox.cancel([task.id])
            self._watch.hint()
            return None
        digest = await body.digest()
        version = body.sha256 if named is None else None
        call, headers = self._signer.sign_task(agent, digest, asked.signature)
        async with self._db.begin() as tx:
            stored = await tx.mailbox.find(task.id, for_update=True)
            if stored is None or stored.state not in OPEN or stored.model != task.model:
                return None  # it has changed meanwhile, and the agent asks again
            await tx.mailbox.take(
                stored,
                self._clock.now(),
                size=len(body),
                call=call or None,
                seconds=seconds,
                digest=version,
            )
        self._watch.hint()
        return Taken(task, body, {CONTENT_DIGEST: digest, **_described(task, version), **headers})

    async def _named(self, task: MailedTask, seconds: float, said: str) -> TaskBody | None:
        """Make the body of a task that names the URL of its parameters; None if it has to come with them.

        Raises `NotFound` if their file is gone.
        """
        if not said or task.model is None or not self._sources.offer:
            return None
        path = await in_thread("files", self._files.path, task.model)
        file, of = StoredFile(task.model, path.stat().st_size), _task_of(task, seconds)
        if not self._sources.may_name(of, file):
            return None
        return await self._sources.named(of, file, said, channel="pull", client_id=task.client_id)

    def _later(self) -> int:
        """Return after how many seconds an agent should come back that cannot wait here."""
        return max(1, round(LATER_SECONDS * (0.5 + self._rng.random())))


async def _first(news: asyncio.Future[News], departure: Departure, seconds: float) -> News | None:
    """Wait for news for up to `seconds`; None if there are none. Raises what `departure` raises."""
    if seconds <= 0:
        return news.result() if news.done() else None
    leaving = asyncio.create_task(departure())
    both: set[asyncio.Future[Any]] = {news, leaving}
    try:
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            leaving.result()
        return news.result() if news.done() else None
    finally:
        leaving.cancel()


def _described(task: MailedTask, sha256: str | None) -> Mapping[str, str]:
    """Name the version of a body, so that its agent can ask for the rest, and the step that has offered its task.

    A body with a URL, which is short and has no `sha256`, is made anew each time, so it has no version.
    """
    version = {} if sha256 is None else {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
    return version | ({} if task.traceparent is None else {TRACEPARENT: task.traceparent})


def _task_of(task: MailedTask, seconds: float) -> Task:
    """Read what a task says if it has so many seconds left."""
    said = from_json(Task, task.document)
    return Task(**{name: getattr(said, name) for name in Task.rules} | {"deadline_seconds": seconds})


def _body(files: ModelFiles, task: MailedTask, seconds: float) -> TaskBody:
    """Make the body of a task that has so many seconds left. The same seconds make the same bytes."""
    model = _NO_TENSORS if task.model is None else unpack(files.map(task.model))[0]
    return TaskBody(*model.payload(task_metadata(_task_of(task, seconds))))
