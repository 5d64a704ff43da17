"""Bodies of agents' answers, and of tasks, that break off: `AgentCaller` calls `Incoming.receive`, and goes on.

Covers: app.services.tasks.resuming
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import numpy as np
import pytest

from app.services.tasks.answers import AgentFailed, Answer
from app.services.tasks.bodies import TaskBody
from app.services.tasks.incoming import Incoming
from app.services.tasks.replies import Reply
from app.services.tasks.requests import LONG_BYTES
from app.services.tasks.resuming import LEAST_BYTES, TRIES, Resuming
from app.store.model_store import ModelStore
from app.turns import Turns
from tcsfeel.wire.digests import digest_of, written_digest
from tests.services.asking import AGENT
from tests.services.fakes import calling
from tests.services.network import answered, response_of

BODY = np.arange(10 * LEAST_BYTES // 4, dtype=np.int32).tobytes()
ETAG = f'"{digest_of([BODY]).hex()}"'
TASK = TaskBody(b"h", memoryview(bytes(LONG_BYTES)))


async def breaking(body: bytes) -> AsyncIterator[bytes]:
    """A body that breaks off after its last byte."""
    yield body
    raise ConnectionResetError


class Torn:
    """An agent whose answers break off `every` so many bytes. It says which bytes it was asked for."""

    def __init__(self, every: int, *, etag: str = ETAG, then: int = 206) -> None:
        self.every = every
        self.etag = etag
        self.then = then
        self.asked: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.headers.get("Range", ""))
        if not self.asked[-1]:
            return self._answer(200, 0, {})
        assert request.headers["If-Range"] == self.etag
        begins = int(self.asked[-1].removeprefix("bytes=").removesuffix("-"))
        said = {"Content-Range": f"bytes {begins}-{len(BODY) - 1}/{len(BODY)}"}
        return self._answer(self.then, begins, said)

    def _answer(self, status: int, begins: int, said: dict[str, str]) -> httpx2.Response:
        ends = begins + self.every
        left = BODY[begins:]
        headers = said | {"ETag": self.etag, "Content-Length": str(len(left))}
        stream = httpx2.ByteStream(left) if ends >= len(BODY) else _Stream(BODY[begins:ends])
        return httpx2.Response(status, stream=stream, headers=headers)


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return breaking(self._body)


async def test_an_answer_goes_on_where_it_broke_off(spool: ModelStore) -> None:
    torn = Torn(4 * LEAST_BYTES)
    async with calling(torn, max_bytes=10_000_000) as agents:
        reply = await agents.poll(AGENT, "t", 0.0, spool, limit=len(BODY))
    assert reply.file is not None
    assert bytes(spool.map(reply.file.sha256)) == BODY
    assert torn.asked == ["", f"bytes={4 * LEAST_BYTES}-", f"bytes={8 * LEAST_BYTES}-"]


@pytest.mark.parametrize("torn", [Torn(LEAST_BYTES, etag='W/"weak"'), Torn(LEAST_BYTES, etag="")])
async def test_an_answer_without_a_strong_etag_is_not_asked_for_again(spool: ModelStore, torn: Torn) -> None:
    async with calling(torn, max_bytes=10_000_000) as agents:
        with pytest.raises(AgentFailed, match="the connection was lost"):
            await agents.poll(AGENT, "t", 0.0, spool, limit=len(BODY))
    assert torn.asked == [""]


@pytest.mark.parametrize("then", [200, 202, 404])
async def test_an_agent_that_cannot_send_the_rest_has_failed_as_if_it_had_not_been_asked(
    spool: ModelStore, then: int
) -> None:
    torn = Torn(4 * LEAST_BYTES, then=then)
    async with calling(torn, max_bytes=10_000_000) as agents:
        with pytest.raises(AgentFailed, match="the connection was lost"):
            await agents.poll(AGENT, "t", 0.0, spool, limit=len(BODY))
    assert len(torn.asked) == 2


@pytest.mark.parametrize("whole", [4 * LEAST_BYTES + 1, len(BODY) + 1])
async def test_the_rest_of_an_answer_cannot_have_another_size_than_its_beginning_said(
    spool: ModelStore, whole: int
) -> None:
    """A file that is written again has to keep its pages, since a thread may have mapped them."""
    begins = 4 * LEAST_BYTES

    @asynccontextmanager
    async def again(*, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        assert headers["Range"] == f"bytes={begins}-"
        said = {"ETag": ETAG, "Content-Range": f"bytes {begins}-{whole - 1}/{whole}"}
        yield Answer(answered(206, bytes(whole - begins), said), AGENT, None, Turns(), 1.0)

    torn = response_of(httpx2.Response(200, stream=_Stream(BODY[:begins]), headers={"ETag": ETAG}))
    answer = Answer(replace(torn, length=len(BODY)), AGENT, None, Turns(), 1.0)
    with pytest.raises(ConnectionResetError):
        await Incoming(Turns(), Resuming(), max_bytes=10_000_000).receive(answer, spool, again)
    assert spool.names() == []


async def test_tries_that_bring_nothing_come_to_an_end(spool: ModelStore) -> None:
    torn = Torn(LEAST_BYTES - 1)
    async with calling(torn, max_bytes=10_000_000, resuming=Resuming(sleep=_at_once)) as agents:
        with pytest.raises(AgentFailed, match="the connection was lost"):
            await agents.poll(AGENT, "t", 0.0, spool, limit=len(BODY))
    assert len(torn.asked) == 1 + TRIES


async def test_pauses_grow_while_nothing_comes() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    resuming = Resuming(sleep=sleep)
    for failures in range(4):
        await resuming.pause(failures)
    assert slept == [0.25, 0.5, 1.0]


class Losing:
    """An agent that loses the connection when it has so many bytes of a task. It answers `HEAD` as it was told."""

    def __init__(self, *sizes: int, head: int = 204, complete: str = "?0") -> None:
        self.sizes = list(sizes)
        self.head = head
        self.complete = complete
        self.has = 0
        self.calls: list[str] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.calls.append(request.method)
        if request.method == "HEAD":
            return httpx2.Response(
                self.head, headers={"Upload-Offset": str(self.has), "Upload-Complete": self.complete}
            )
        offset = int(request.headers.get("Upload-Offset", 0))
        assert offset == self.has
        body = await request.aread()
        assert len(body) == len(TASK) - offset == int(request.headers["Content-Length"])
        if request.method == "PATCH":
            assert request.headers["Repr-Digest"] == written_digest(digest_of([TASK.header, TASK.block]))
        if self.sizes:
            self.has = self.sizes.pop(0)
            raise ConnectionResetError
        return httpx2.Response(202)


async def test_a_task_goes_on_where_it_broke_off(spool: ModelStore) -> None:
    losing = Losing(LEAST_BYTES, 5 * LEAST_BYTES)
    async with calling(losing) as agents:
        assert await agents.hand_over(AGENT, "t", TASK, spool) == Reply("working")
    assert losing.calls == ["PUT", "HEAD", "PATCH", "HEAD", "PATCH"]


async def test_a_task_that_has_arrived_although_its_answer_was_lost_is_not_sent_again(spool: ModelStore) -> None:
    losing = Losing(len(TASK), complete="?1")
    async with calling(losing) as agents:
        assert await agents.hand_over(AGENT, "t", TASK, spool) == Reply("working")
    assert losing.calls == ["PUT", "HEAD"]


@pytest.mark.parametrize("head", [404, 405, 500])
async def test_an_agent_that_has_no_part_of_a_task_gets_it_once_more(spool: ModelStore, head: int) -> None:
    losing = Losing(0, head=head)
    async with calling(losing) as agents:
        assert await agents.hand_over(AGENT, "t", TASK, spool) == Reply("working")
        losing.sizes = [0, 0]
        with pytest.raises(AgentFailed, match="the connection was lost") as failed:
            await agents.hand_over(AGENT, "t", TASK, spool)
    assert failed.value.kind == "unreachable"
    assert losing.calls == ["PUT", "HEAD", "PUT"] + ["PUT", "HEAD"] * 2


async def test_a_small_task_is_not_asked_for(spool: ModelStore) -> None:
    calls: list[str] = []

    def lost(request: httpx2.Request) -> httpx2.Response:
        calls.append(request.method)
        raise ConnectionResetError

    async with calling(lost) as agents:
        with pytest.raises(AgentFailed, match="the connection was lost"):
            await agents.hand_over(AGENT, "t", TaskBody(b"head", memoryview(b"block")), spool)
    assert calls == ["PUT"]


async def _at_once(seconds: float) -> None:
    del seconds


async def test_a_body_has_its_own_bound_within_that_of_all(spool: ModelStore) -> None:
    incoming = Incoming(Turns(), Resuming(), max_bytes=5)

    @asynccontextmanager
    async def again(*, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        assert not headers, "nothing broke off"
        yield said(b"")

    def said(body: bytes) -> Answer:
        return Answer(answered(200, body), AGENT, None, Turns(), 1.0)

    assert (await incoming.receive(said(b"12345"), spool, again)).size == 5
    for limit in (None, 9):
        with pytest.raises(AgentFailed, match="more than 5 bytes"):
            await incoming.receive(said(b"123456"), spool, again, limit=limit)
    with pytest.raises(AgentFailed, match="more than 4 bytes"):
        await incoming.receive(said(b"12345"), spool, again, limit=4)
