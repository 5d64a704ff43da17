"""Tasks that break off on their way to an agent, and answers of which the caller has a part."""

from typing import Any

import numpy as np
import pytest

from tcsfeel.agent import Agent
from tcsfeel.agent.receiving import KEPT, KEPT_SECONDS
from tcsfeel.wire.codec import encode
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.tasks import task_metadata
from tests.tcsfeel.agent.calling import client, problem
from tests.tcsfeel.agent.fakes import AddingTrainer, make_task

TASK = make_task("t.1.c.fit")
BODY = encode({"w": np.arange(100, dtype=np.float32)}, task_metadata(TASK))
DIGEST = written_digest(digest_of([BODY]))
WHERE = f"/tasks/{TASK.id}"
HALF = 200
REST = {
    "Content-Type": "application/partial-upload", "Repr-Digest": DIGEST, "Upload-Complete": "?1",
    "Upload-Offset": str(HALF),
}  # fmt: skip


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agent(clock: Clock) -> Agent:
    return Agent(AddingTrainer(), clock=clock)


async def lose(agent: Agent, *pieces: bytes, where: str = WHERE, method: str = "PUT", **said: str) -> None:
    """Send pieces of a task, and lose the connection then."""
    headers = {"content-length": str(len(BODY)), "content-digest": DIGEST, **said}
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("nobody hears this answer")

    given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": where, "headers": given, "query_string": b""}
    await agent(scope, receive, send)


async def test_a_task_that_broke_off_is_completed_and_trained(agent: Agent) -> None:
    await lose(agent, BODY[:100], BODY[100:HALF])
    async with client(agent) as http:
        head = await http.head(WHERE)
        assert (head.status_code, head.headers["Upload-Offset"], head.headers["Upload-Complete"]) == (
            204, str(HALF), "?0",
        )  # fmt: skip
        done = await http.patch(WHERE, content=BODY[HALF:], headers=REST)
        assert done.status_code == 200, done.text
        assert (await http.head(WHERE)).headers["Upload-Complete"] == "?1"
    assert agent.table.trained[TASK.id] == 1


async def test_a_task_may_break_off_again(agent: Agent) -> None:
    await lose(agent, BODY[:HALF])
    said = {name.lower(): value for name, value in REST.items()} | {"content-length": str(len(BODY) - HALF)}
    await lose(agent, BODY[HALF : HALF + 50], method="PATCH", **said)
    async with client(agent) as http:
        assert (await http.head(WHERE)).headers["Upload-Offset"] == str(HALF + 50)


async def test_the_rest_has_to_begin_where_the_task_broke_off(agent: Agent) -> None:
    async with client(agent) as http:
        problem(await http.patch(WHERE, content=BODY[HALF:], headers=REST), 409)
        await lose(agent, BODY[:HALF])
        for changed in ({"Upload-Offset": "100"}, {"Repr-Digest": written_digest(digest_of([b"other"]))}):
            refused = await http.patch(WHERE, content=BODY[HALF:], headers=REST | changed)
            problem(refused, 409)
        assert refused.headers["Upload-Offset"] == "0"  # nothing of that other body is here
        for wrong in ({"Content-Type": "text/plain"}, {"Upload-Offset": "x"}, {"Upload-Complete": "?0"}):
            problem(await http.patch(WHERE, content=BODY[HALF:], headers=REST | wrong), 422)
        problem(await http.patch(WHERE, content=BODY, headers=REST), 413)


async def test_a_rest_that_makes_another_body_is_not_trained(agent: Agent) -> None:
    await lose(agent, BODY[:HALF])
    async with client(agent) as http:
        refused = await http.patch(WHERE, content=bytes(len(BODY) - HALF), headers=REST)
        assert "does not fit its Repr-Digest" in problem(refused, 400)
        assert (await http.head(WHERE)).status_code == 404


async def test_a_caller_that_comes_back_takes_the_task_from_its_earlier_call(agent: Agent) -> None:
    async with client(agent) as http:
        pieces = [BODY[:HALF], BODY[HALF:]]

        async def receive() -> dict[str, Any]:
            if len(pieces) == 1:  # the caller has come back, and what arrives over the earlier call is late
                assert (await http.head(WHERE)).headers["Upload-Offset"] == str(HALF)
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(_: Any) -> None:
            raise AssertionError("the earlier call gets no answer")

        given = [(b"content-length", str(len(BODY)).encode()), (b"content-digest", DIGEST.encode())]
        scope = {"type": "http", "method": "PUT", "path": WHERE, "headers": given, "query_string": b""}
        await agent(scope, receive, send)
        assert (await http.patch(WHERE, content=BODY[HALF:], headers=REST)).status_code == 200


async def test_a_body_without_a_digest_is_not_kept(agent: Agent) -> None:
    await lose(agent, BODY[:HALF], **{"content-digest": ""})
    async with client(agent) as http:
        assert (await http.head(WHERE)).status_code == 404


async def test_few_bodies_are_kept_and_not_for_long(agent: Agent, clock: Clock) -> None:
    names = [f"/tasks/t.{number}.c.fit" for number in range(KEPT + 1)]
    async with client(agent) as http:
        for name in names:
            await lose(agent, BODY[:HALF], where=name)
        assert [(await http.head(name)).status_code for name in names] == [404, *[204] * KEPT]
        await http.delete(names[-1])
        assert (await http.head(names[-1])).status_code == 404
        clock.now = KEPT_SECONDS + 1
        assert (await http.head(names[1])).status_code == 404


async def test_the_rest_of_a_result_is_sent_to_a_caller_that_has_its_beginning(agent: Agent) -> None:
    async with client(agent) as http:
        http.headers["Accept-Encoding"] = "identity"
        whole = await http.put(WHERE, content=BODY, headers={"Content-Digest": DIGEST})
        assert (whole.status_code, whole.headers["Accept-Ranges"]) == (200, "bytes")
        etag, size = whole.headers["ETag"], len(whole.content)
        assert etag == f'"{digest_of([whole.content]).hex()}"'
        rest = await http.get(WHERE, headers={"Range": "bytes=100-", "If-Range": etag})
        assert (rest.status_code, rest.content) == (206, whole.content[100:])
        assert rest.headers["Content-Range"] == f"bytes 100-{size - 1}/{size}"
        for said in ({"Range": "bytes=100-"}, {"Range": "bytes=100-", "If-Range": '"x"'}, {"Range": "bytes=-5"}):
            again = await http.get(WHERE, headers=said)
            assert (again.status_code, again.content) == (200, whole.content)
        problem(await http.get(WHERE, headers={"Range": f"bytes={size}-", "If-Range": etag}), 416)


async def test_the_rest_of_a_model_is_sent_as_well(agent: Agent) -> None:
    async with client(agent) as http:
        whole = await http.get("/model")
        rest = await http.get("/model", headers={"Range": "bytes=8-", "If-Range": whole.headers["ETag"]})
    assert (rest.status_code, rest.content) == (206, whole.content[8:])
