"""Take results that come in parts: what a call has brought stays, also if the call broke off.

The parts are files of the model store, which all servers share, and rows. So an agent can go on at any server, after
any of them was killed. When the last part is there, they become one file, and its digest decides whether it counts.

Only one call at a time appends to a result. An agent that comes back has lost its earlier call, which this server may
still wait for: it ends, and what it has brought is stored before the later call is answered.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from app.clock import Clock
from app.domain.errors import IllegalTransition, NotFound
from app.domain.mailbox import OPEN, Delivery, MailedTask
from app.domain.uploads import LEAST_PART_BYTES, MOST_PARTS, Room, UploadPart, WrongOffset, offset_of
from app.metrics import Metrics
from app.services.tasks.deliveries import (
    WRITE_AGAIN_SECONDS,
    CorruptedResult,
    Deliveries,
    coding_of,
    is_repeated,
    pieces_of,
)
from app.store.database import Database
from app.store.model_store import FileTooLarge, ModelFiles, ModelStore, StoredFile
from app.store.removals import FileRemoved
from app.threads import in_thread
from tcsfeel.errors import Invalid
from tcsfeel.wire.digests import CONTENT_DIGEST, REPR_DIGEST, read_digest


class BrokenOff(Exception):
    """The caller has hung up in the middle of a body."""


class Progress(NamedTuple):
    """How far the result of a task has come in: `offset` bytes of at most `most`, or all of it."""

    offset: int
    complete: bool
    most: int


@dataclass(eq=False, slots=True)
class _Call:
    """A call that appends. It `ended` when what it has brought is stored."""

    left: bool = False
    reading: asyncio.Timeout | None = None
    whole: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def leave(self) -> None:
        """End it, because its caller has come back in another call."""
        self.left = True
        if self.reading is not None:
            self.reading.reschedule(0)


class Appends:
    """The results that agents bring to this server in parts.

    Args:
        files: the model store, which all servers share.
        uploads: makes a place for the body of a call until it is in the model store.
        most_bytes: how many bytes of unfinished uploads there may be, of all clients.
        most_of_client: the same of one client.
    """

    def __init__(
        self,
        db: Database,
        files: ModelFiles,
        clock: Clock,
        deliveries: Deliveries,
        metrics: Metrics,
        *,
        uploads: Callable[[], ModelStore],
        most_bytes: int,
        most_of_client: int,
    ) -> None:
        self._db = db
        self._files = files
        self._clock = clock
        self._deliveries = deliveries
        self._metrics = metrics
        self._uploads = uploads
        self._most_bytes = most_bytes
        self._most_of_client = most_of_client
        self._calls: defaultdict[str, list[_Call]] = defaultdict(list)

    async def progress(self, client_id: str, task_id: str) -> Progress:
        """Tell how far the result of a task has come in. Raises `NotFound`, `Removed`."""
        task = await self._deliveries.find(client_id, task_id)
        async with self._alone(task_id):
            task = await self._deliveries.find(client_id, task_id)
            if task.state not in OPEN:
                return Progress(task.size, complete=True, most=task.most_bytes)
            return Progress(offset_of(await self._parts(task_id)), complete=False, most=task.most_bytes)

    async def append(
        self,
        client_id: str,
        task_id: str,
        headers: Mapping[str, str],
        body: AsyncIterable[bytes],
        *,
        offset: int,
        complete: bool,
    ) -> Progress:
        """Append a body to the result of a task; `complete` says that nothing follows it. Tells how far it has come.

        The body may raise `BrokenOff`: then what has come of it is kept.

        Raises:
            NotFound: this client has no such task.
            Removed: the task is no longer wanted.
            IllegalTransition: it has been delivered before, and not with these bytes.
            WrongOffset: the result does not end at `offset`.
            FileTooLarge, Invalid, CorruptedResult, WrongResultSignature: the result cannot be taken.
            LimitReached: there is no room for unfinished uploads.
        """
        task = await self._deliveries.find(client_id, task_id)
        digest = headers.get(REPR_DIGEST.lower(), "")
        expected = read_digest(digest)
        if is_repeated(task, expected):
            return Progress(task.size, complete=True, most=task.most_bytes)
        if task.state not in OPEN:
            raise IllegalTransition(task.state, "deliver")
        evidence = await self._deliveries.verified(task, headers, digest, "PATCH")
        said = Delivery(
            result=None if expected is None else expected.hex(), coding=coding_of(task, headers), evidence=evidence
        )
        async with self._alone(task_id) as call:
            parts = await self._parts(task_id)
            if offset_of(parts) != offset:
                raise WrongOffset(offset, offset_of(parts))
            room = await self._room(task, parts)
            upload = self._uploads()
            try:
                received, seconds = await self._receive(task, upload, body, call, offset=offset, room=room)
                sent = read_digest(headers.get(CONTENT_DIGEST.lower(), ""))
                if call.whole and sent is not None and sent.hex() != received.sha256:
                    raise CorruptedResult
                if call.whole and complete:
                    total = sum(part.seconds for part in parts) + seconds
                    await self._finish(task, parts, upload.map(received.sha256), replace(said, seconds=total))
                    return Progress(offset + received.size, complete=True, most=task.most_bytes)
                if received.size and (call.whole or received.size >= LEAST_PART_BYTES):
                    await self._keep(task, upload, received, begins=offset, seconds=seconds)
            finally:
                await in_thread("files", upload.clear)
        if not call.whole:
            self._metrics.transfers_resumed.labels("pull", "result").inc()
            raise BrokenOff
        return Progress(offset + received.size, complete=False, most=task.most_bytes)

    async def _receive(
        self,
        task: MailedTask,
        upload: ModelStore,
        body: AsyncIterable[bytes],
        call: _Call,
        *,
        offset: int,
        room: Room,
    ) -> tuple[StoredFile, float]:
        """Receive a body as far as it comes. Returns it, and the seconds that it took."""
        loop, left = asyncio.get_running_loop(), task.most_bytes - offset
        began = loop.time()
        try:
            async with aclosing(_until_it_breaks(body, call)) as coming:
                received = await upload.receive(coming, min(left, room.size))
        except FileTooLarge as error:
            if room.size < left:
                raise room.refusal() from error
            raise FileTooLarge(task.most_bytes) from error
        return received, loop.time() - began

    async def _finish(self, task: MailedTask, parts: list[UploadPart], last: memoryview, delivery: Delivery) -> None:
        """Make one file of all parts, and deliver it. If it is not what was sent, nothing of it is kept."""

        def pieces() -> Iterator[memoryview]:
            return chain.from_iterable(pieces_of(mapped) for mapped in chain(map(self._map, parts), [last]))

        try:
            await self._deliveries.keep(task, pieces, delivery)
        except CorruptedResult:
            async with self._db.begin() as tx:
                await tx.mailbox.find(task.id, for_update=True)
                await tx.removals.request(await tx.uploads.drop(task.id), at_once=True)
            raise

    def _map(self, part: UploadPart) -> memoryview:
        """Map a part. Raises `CorruptedResult` if its file is gone from the store, so that the agent begins again."""
        try:
            return self._files.map(part.sha256)
        except NotFound:
            raise CorruptedResult from None

    async def _keep(
        self, task: MailedTask, upload: ModelStore, received: StoredFile, *, begins: int, seconds: float
    ) -> None:
        """Put what a call has brought into the model store, and record it."""
        while True:
            async with self._db.glance() as tx:
                since = await tx.now()
            stored = await in_thread("files", self._files.write, pieces_of(upload.map(received.sha256)))
            part = UploadPart(task.id, task.client_id, begins, stored.size, stored.sha256, seconds)
            try:
                return await self._store(part, since)
            except FileRemoved:
                await self._clock.sleep(WRITE_AGAIN_SECONDS)

    async def _store(self, part: UploadPart, since: float) -> None:
        async with self._db.begin() as tx:
            task = await tx.mailbox.find(part.task_id, for_update=True)
            await tx.removals.check([part.sha256], since)
            offset = offset_of(await tx.uploads.parts(part.task_id))
            wanted = task is not None and task.state in OPEN
            if wanted and offset == part.begins:
                await tx.uploads.add(part)
                return
            await tx.removals.request([part.sha256], at_once=True)
        if wanted:
            raise WrongOffset(part.begins, offset)
        await self._deliveries.find(part.client_id, part.task_id)  # which says why it is not
        raise IllegalTransition("delivered", "deliver")

    async def _room(self, task: MailedTask, parts: list[UploadPart]) -> Room:
        """Return the room that there is for an unfinished upload. Raises `LimitReached`, `Invalid`."""
        if len(parts) >= MOST_PARTS:
            raise Invalid("", f"the result came in {len(parts)} parts: send it again by PUT, in one call")
        async with self._db.glance() as tx:
            held = await tx.uploads.held(task.client_id)
        own = offset_of(parts)
        of_client, of_all = self._most_of_client - held.of_client, self._most_bytes - held.of_all
        room = min(
            Room(max(0, of_client), "client_unfinished_bytes", alone=held.of_client == own),
            Room(max(0, of_all), "unfinished_bytes", alone=held.of_all == own),
        )
        if not room.size:
            raise room.refusal()
        return room

    async def _parts(self, task_id: str) -> list[UploadPart]:
        async with self._db.glance() as tx:
            return await tx.uploads.parts(task_id)

    @asynccontextmanager
    async def _alone(self, task_id: str) -> AsyncIterator[_Call]:
        """Let a call have a result for itself, after earlier calls have ended."""
        call, earlier = _Call(), list(self._calls[task_id])
        self._calls[task_id].append(call)
        try:
            for other in earlier:
                other.leave()
                await other.ended.wait()
            yield call
        finally:
            call.ended.set()
            self._calls[task_id].remove(call)
            if not self._calls[task_id]:
                del self._calls[task_id]


async def _until_it_breaks(body: AsyncIterable[bytes], call: _Call) -> AsyncGenerator[bytes, None]:
    """Yield what comes of a body, until its caller hangs up or comes back in another call."""
    coming = aiter(body)
    with suppress(BrokenOff, TimeoutError):
        while not call.left:
            async with asyncio.timeout(None) as reading:
                call.reading = reading
                try:
                    piece = await anext(coming)
                except StopAsyncIteration:
                    call.whole = True
                    return
                finally:
                    call.reading = None
            yield piece
