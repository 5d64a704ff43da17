"""Take the results of tasks from agents that pull.

A result is checked as if the agent had been called: its size while it streams, its digest, and its signature if the
device has a key. Then it is put into the model store, which all servers share, and the owner of its round reads it from
there. The first delivery of a task counts, and no other.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

from app.clock import Clock
from app.domain.clients import Endpoint
from app.domain.errors import IllegalTransition, NotFound, Removed
from app.domain.mailbox import LATE, OPEN, Delivery, MailedTask
from app.domain.rounds import Evidence
from app.services.tasks.watching import TaskWatch
from app.store.bucket import ObjectStoreUnavailable
from app.store.bucket_uploads import BucketUploads
from app.store.database import Database
from app.store.model_store import FileTooLarge, ModelFiles, ModelStore, StoredFile
from app.store.removals import FileRemoved
from app.store.transaction import Transaction
from app.threads import in_thread
from tcsfeel.errors import Invalid, Picklable
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.digests import CONTENT_DIGEST, read_digest
from tcsfeel.wire.signatures import (
    SIGNATURE,
    SIGNATURE_INPUT,
    WrongSignature,
    check_answer,
    digest_header,
    result_components,
)
from tcsfeel.wire.sizes import ERROR_BYTES

WRITE_AGAIN_SECONDS = 0.5  # until a result is stored again whose file was being removed
_PIECE = 1 << 20
_LONGEST_NUMBER = 15  # digits of a length


class CorruptedResult(Picklable):
    """The body that arrived is not the one that was sent, so that sending it again helps."""

    def __init__(self) -> None:
        super().__init__(f"the body does not fit its {CONTENT_DIGEST}: it was corrupted on the way, so send it again")


class WrongResultSignature(Picklable):
    """A result is not signed by the device that the client belongs to."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the client has a public key, so its results have to be signed with it: {reason}")


class Deliveries:
    """The results that agents bring to this server.

    Args:
        files: the model store, which all servers share.
        uploads: makes a place for a result until it is in the model store.
        bucket: has the results that agents put into the bucket; None if they may not.
    """

    def __init__(
        self,
        db: Database,
        files: ModelFiles,
        clock: Clock,
        watch: TaskWatch,
        *,
        uploads: Callable[[], ModelStore],
        bucket: BucketUploads | None = None,
    ) -> None:
        self._db = db
        self._files = files
        self._clock = clock
        self._watch = watch
        self._uploads = uploads
        self._bucket = bucket
        self._fetching: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def take(
        self,
        client_id: str,
        task_id: str,
        headers: Mapping[str, str],
        body: AsyncIterable[bytes] | None,
        *,
        failed: bool = False,
    ) -> None:
        """Take the result of a task, or what its agent says of its failure if it has `failed`.

        A result without a `body` is in the bucket, see `take_uploaded`.

        Raises:
            NotFound: this client has no such task.
            Removed: the task is no longer wanted.
            IllegalTransition: it has been delivered before, and not with these bytes.
            FileTooLarge, Invalid, CorruptedResult, WrongResultSignature: the result cannot be taken.
        """
        task = await self.find(client_id, task_id)
        digest = headers.get(CONTENT_DIGEST.lower(), "")
        expected = read_digest(digest)
        if is_repeated(task, expected):
            return
        if task.state not in OPEN:
            raise IllegalTransition(task.state, "deliver")
        evidence = await self.verified(task, headers, digest)
        loop = asyncio.get_running_loop()
        began = loop.time()
        if failed and body is not None:
            said = await _text(body, expected)
            await self._store(task, Delivery(failure=said, seconds=loop.time() - began, evidence=evidence), since=None)
            return
        coding = coding_of(task, headers)
        upload = self._uploads()
        try:
            if body is None:
                received = await self._from_bucket(task, expected, upload)
            else:
                received = await upload.receive(body, task.most_bytes, size=_length(headers))
            if expected is not None and received.sha256 != expected.hex():
                raise CorruptedResult
            # How long a device took to put its result into the bucket is not known.
            seconds = 0.0 if body is None else loop.time() - began
            delivery = Delivery(coding=coding, seconds=seconds, evidence=evidence)
            await self.keep(task, partial(pieces_of, upload.map(received.sha256)), delivery)
        finally:
            await in_thread("files", upload.clear)

    async def take_uploaded(self, client_id: str, task_id: str, headers: Mapping[str, str]) -> None:
        """Take the result of a task that its agent has put into the bucket. Raises the errors of `take`.

        A second call of the agent waits for the first one, so that an upload is read once however often it is named.
        """
        async with self._fetching.setdefault((client_id, task_id), asyncio.Lock()):
            await self.take(client_id, task_id, headers, None)

    async def _from_bucket(self, task: MailedTask, expected: bytes | None, upload: ModelStore) -> StoredFile:
        """Fetch the upload of a task, and remove it. Raises `Invalid`, `FileTooLarge`, `CorruptedResult`."""
        if self._bucket is None or expected is None:
            raise Invalid("", f"send the result itself, since there is no bucket to look in, or no {CONTENT_DIGEST}")
        try:
            received = await in_thread("files", upload.write, self._bucket.parts(task.id, task.most_bytes))
        except NotFound as error:
            raise CorruptedResult from error
        except FileTooLarge:
            await self._remove_upload(self._bucket, task.id)
            raise
        await self._remove_upload(self._bucket, task.id)
        return received

    @staticmethod
    async def _remove_upload(bucket: BucketUploads, task_id: str) -> None:
        with contextlib.suppress(ObjectStoreUnavailable):  # what is left is swept
            await in_thread("files", bucket.remove, task_id)

    async def find(self, client_id: str, task_id: str) -> MailedTask:
        """Read a task of a client. Raises `NotFound`, and `Removed` if it is no longer wanted."""
        async with self._db.glance() as tx:
            task = await tx.mailbox.find(task_id)
        if task is None or task.client_id != client_id:
            raise NotFound("task", task_id)
        if task.state == "cancelled":
            raise Removed("task", task_id, LATE)
        return task

    async def move(self, task_id: str) -> None:
        """Record that bytes of a task, or of its result, have moved just now."""
        async with self._db.begin() as tx:
            await tx.mailbox.move(task_id, self._clock.now())

    async def verified(
        self, task: MailedTask, headers: Mapping[str, str], digest: str, method: str = "PUT"
    ) -> Evidence | None:
        """Verify the signature of a delivery, or of a part of one, before its body is read.

        `digest` is that of the whole result, as it is in the header. Raises `WrongResultSignature`.
        """
        async with self._db.glance() as tx:
            agent: Endpoint = (await tx.clients.get(task.client_id, labels=False)).endpoint
        if agent.public_key is None:
            return None
        if read_digest(digest) is None:
            raise WrongResultSignature(f"it has no {digest_header(method)} with sha-256")
        said = {name: headers.get(name.lower(), "") for name in (SIGNATURE_INPUT, SIGNATURE)}
        components = result_components(f"/v1/clients/{task.client_id}/tasks/{task.id}/result", digest, method)
        try:
            signed = check_answer(said, components, key=agent.public_key)
        except WrongSignature as wrong:
            raise WrongResultSignature(str(wrong)) from None
        return Evidence(call=task.call or "", answer=signed.base, signature=signed.written)

    async def keep(self, task: MailedTask, pieces: Callable[[], Iterable[memoryview]], delivery: Delivery) -> None:
        """Put a result, whose `pieces` a thread reads, into the model store, and record it as a `delivery`.

        Raises:
            Removed, IllegalTransition: as `take`.
            CorruptedResult: the bytes are not those whose name the delivery has, if it has one.
        """
        while True:
            async with self._db.glance() as tx:
                since = await tx.now()
            stored = await in_thread("files", lambda: self._files.write(pieces()))
            if delivery.result not in {None, stored.sha256}:
                async with self._db.begin() as tx:
                    await tx.removals.request([stored.sha256], at_once=True)
                raise CorruptedResult
            try:
                return await self._store(task, replace(delivery, result=stored.sha256, size=stored.size), since=since)
            except FileRemoved:
                await self._clock.sleep(WRITE_AGAIN_SECONDS)

    async def _store(self, task: MailedTask, delivery: Delivery, *, since: float | None) -> None:
        """Record a delivery, unless the task has got another one or was cancelled meanwhile.

        If the delivery has a file, it was written after `since`, by the clock of the database.
        """
        async with self._db.begin() as tx:
            stored = await tx.mailbox.find(task.id, for_update=True)  # before its files are locked, as to cancel it
            if delivery.result is not None and since is not None:
                await tx.removals.check([delivery.result], since)
            if stored is not None and stored.result is not None and stored.result == delivery.result:
                return
            refused = await self._refusal(tx, task.id, stored, delivery)
            freed = await tx.uploads.drop(task.id) if refused is None else {delivery.result or ""} - {""}
            await tx.removals.request(freed, at_once=True)
        if refused is not None:
            raise refused
        self._watch.hint()

    async def _refusal(
        self, tx: Transaction, task_id: str, stored: MailedTask | None, delivery: Delivery
    ) -> Exception | None:
        """Record a delivery for a task that is locked. Returns why that was not possible."""
        if stored is None or stored.state == "cancelled":
            return Removed("task", task_id, LATE)
        try:
            await tx.mailbox.deliver(stored, delivery, self._clock.now())
        except IllegalTransition as error:
            return error
        return None


def pieces_of(mapped: memoryview) -> Iterator[memoryview]:
    """Cut a file into pieces that are copied one after the other."""
    return (mapped[start : start + _PIECE] for start in range(0, len(mapped), _PIECE))


def coding_of(task: MailedTask, headers: Mapping[str, str]) -> str:
    """Read the content coding of a result. Raises `Invalid` if the task does not accept it."""
    coding = headers.get("content-encoding", "").strip().lower() or IDENTITY
    if coding not in {IDENTITY, task.accept}:
        raise Invalid("", f"the Content-Encoding {coding[:32]!r} is not accepted for this task")
    return coding


def is_repeated(task: MailedTask, expected: bytes | None) -> bool:
    """Tell whether a task was delivered before with the bytes of this digest, and the answer got lost."""
    return task.state == "delivered" and expected is not None and task.result == expected.hex()


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else None


async def _text(body: AsyncIterable[bytes], expected: bytes | None) -> str:
    """Read a problem document. Raises `FileTooLarge`, `CorruptedResult`."""
    text = b""
    async for piece in body:
        text += piece
        if len(text) > ERROR_BYTES:
            raise FileTooLarge(ERROR_BYTES)
    if expected is not None and hashlib.sha256(text).digest() != expected:
        raise CorruptedResult
    return text.decode("utf-8", "replace").replace("\0", "")
