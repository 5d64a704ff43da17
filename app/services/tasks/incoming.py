"""Receive the bodies of agents' answers into a store, and go on where they broke off.

An answer with a strong `ETag` may be asked for again from any byte on. If the agent cannot do that, or has another
answer by now, the call has failed as if nothing had been asked.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Protocol

from app.services.tasks.answers import AgentFailed, Answer
from app.services.tasks.breaks import BROKEN, CUT, Broken
from app.services.tasks.patience import TooSlow
from app.services.tasks.replies import coding_of
from app.services.tasks.resuming import LEAST_BYTES, TRIES, Resuming
from app.store.model_store import FileTooLarge, ModelStore, StoredFile
from app.threads import in_thread
from app.turns import Turns
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.headers import LENGTH
from tcsfeel.wire.resuming import read_content_range, strong_etag


class Again(Protocol):
    """Asks for an answer again."""

    def __call__(self, *, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Answer]:
        """Make the call with further headers. Its faults raise `AgentFailed`."""
        ...


class Incoming:
    """The bodies of answers, which have at most `max_bytes`. Their blocks are read in `turns`."""

    def __init__(self, turns: Turns, resuming: Resuming, *, max_bytes: int) -> None:
        self._turns = turns
        self._resuming = resuming
        self._max_bytes = max_bytes

    async def receive(
        self,
        answer: Answer,
        store: ModelStore,
        again: Again,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
        kind: str = "result",
        moved: Callable[[], object] = lambda: None,
        check: Callable[[bytes], None] = lambda _beginning: None,
    ) -> StoredFile:
        """Store a body of at most `limit` bytes; `check` may refuse it after its first eight bytes.

        `kind` is what the metrics call it, and `moved` is called for each large block that comes.
        Raises `AgentFailed`, and errors of `BROKEN`.
        """
        response = answer.response
        most = self._max_bytes if limit is None else min(limit, self._max_bytes)
        if (coding := coding_of(response)) not in {IDENTITY, accept}:
            reason = f"the agent answered with Content-Encoding {coding[:32]!r}, which is not accepted"
            raise AgentFailed(reason, passing=False)
        try:
            blocks = self._blocks(answer, again, kind, accept)
            async with contextlib.aclosing(self._checked(blocks, check, moved)) as body:
                file = await store.receive(body, most, size=response.length)
        except WireError as error:
            raise AgentFailed(str(error), passing=False) from error
        except FileTooLarge as error:
            raise AgentFailed(f"the agent sent a body of more than {error.limit} bytes", passing=False) from error
        try:
            answer.check_body(file.sha256)
        except AgentFailed:
            await in_thread("files", store.remove, file.sha256)
            raise
        return file

    async def _checked(
        self, blocks: AsyncGenerator[memoryview, None], check: Callable[[bytes], None], moved: Callable[[], object]
    ) -> AsyncGenerator[memoryview, None]:
        beginning = b""
        async with contextlib.aclosing(blocks) as coming:
            async for block in coming:
                if len(block) >= LEAST_BYTES:
                    moved()
                if len(beginning) < LENGTH.size:
                    beginning += bytes(block[: LENGTH.size - len(beginning)])
                    if len(beginning) == LENGTH.size:
                        check(beginning)
                yield block
                await self._turns.take()

    async def _blocks(self, answer: Answer, again: Again, kind: str, accept: str) -> AsyncGenerator[memoryview, None]:
        """Yield the blocks of a body. If it breaks off, ask for the rest, as long as that brings something."""
        etag, came, failures = strong_etag(answer.response.header("ETag")), 0, 0
        try:
            async for block in answer.response.body:
                came += len(block)
                yield block
        except BROKEN as error:
            if not etag or isinstance(error, TooSlow):
                raise
            lost = error
        else:
            return
        while failures < TRIES:
            self._resuming.note(kind)
            await self._resuming.pause(failures)
            before = came
            try:
                said = {"Range": f"bytes={came}-", "If-Range": etag, "Accept-Encoding": accept}
                async with again(headers=said) as rest:
                    async for block in _rest(rest, etag, came, answer.response.length):
                        came += len(block)
                        yield block
            except AgentFailed as error:
                if error.kind != "unreachable":
                    raise lost from error
                failures = 0 if came - before >= LEAST_BYTES else failures + 1
            else:
                return
        raise lost


async def _rest(answer: Answer, etag: str, came: int, size: int | None) -> AsyncIterator[memoryview]:
    """Yield the blocks of a body from the byte `came` on. Raises `AgentFailed` if the answer is something else.

    `size` is what the beginning of the body said of the whole. The rest has to agree, because a file is being written
    for as many bytes.
    """
    response = answer.response
    found = read_content_range(response.header("Content-Range"))
    if (
        response.status != HTTPStatus.PARTIAL_CONTENT
        or found is None
        or found[0] != came
        or size not in {None, found[2]}
        or response.header("ETag").strip() != etag
    ):
        raise AgentFailed("the agent cannot send the rest of its answer")
    async for block in response.body:
        came += len(block)
        yield block
    if came != found[2]:
        raise Broken(CUT)
