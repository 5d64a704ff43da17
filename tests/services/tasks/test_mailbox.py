"""The owner's side of the mailbox: offering tasks, and waiting for their delivery."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.mailbox import MOST_TAKES
from app.services.tasks.answers import AgentFailed
from app.services.tasks.bodies import TaskBody
from app.services.tasks.mailbox import WRITE_AGAIN_SECONDS
from app.services.tasks.pulls import Nothing, Taken
from app.store.database import Database
from tcsfeel.wire.codec import decode
from tcsfeel.wire.tasks import read_task
from tests.services.tasks.mailing import AGENT, FAILURE, MODEL, RESULT, TASK, Post, posting


@pytest.fixture
async def post(db: Database, tmp_path: Path) -> AsyncIterator[Post]:
    async with posting(db, tmp_path) as found:
        yield found


async def test_a_task_goes_to_its_agent_and_the_result_comes_back(post: Post) -> None:
    assert (await post.offer()).answer == "offered"
    taken = await post.next()
    assert isinstance(taken, Taken)
    reply = await post.poll()
    assert (reply.answer, reply.sent) == ("working", len(taken.body))
    await post.deliver()
    reply = await post.poll()
    assert (reply.answer, reply.coding) == ("result", "identity")
    assert reply.file is not None
    assert bytes(post.spool.map(reply.file.sha256)) == RESULT
    again = await post.offer()  # by the next owner of the round
    assert (again.answer, again.file) == ("result", reply.file)


async def test_an_owner_that_waits_is_woken_by_the_delivery(post: Post) -> None:
    await post.offer()
    await post.next()
    waiting = asyncio.create_task(post.poll(60.0))
    watching = asyncio.create_task(post.watch.run())
    await post.deliver()
    assert (await asyncio.wait_for(waiting, 10)).answer == "result"
    watching.cancel()


async def test_a_task_that_is_unknown_or_cancelled_is_told_as_unknown(post: Post) -> None:
    assert (await post.poll()).answer == "unknown"
    await post.offer()
    await post.mailbox.forget(AGENT, TASK.id)
    assert (await post.poll()).answer == "unknown"
    assert isinstance(await post.next(), Nothing)


async def test_the_failure_of_a_trainer_is_told_with_its_traceback(post: Post) -> None:
    await post.offer()
    await post.next()
    await post.deliver(FAILURE, failed=True)
    reply = await post.poll()
    assert (reply.answer, reply.detail, reply.passing, reply.traceback) == (
        "raised", "the data file is missing", True, "one\ntwo",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("document", "passing"),
    [
        (b'{"status": 422, "detail": "no such tensor"}', False),
        (b'{"status": 503, "detail": "no such tensor"}', True),
        (b'{"status": 422, "detail": "no such tensor", "retry": true}', True),
    ],
)
async def test_a_task_that_its_agent_refuses_has_failed(post: Post, document: bytes, passing: bool) -> None:
    await post.offer()
    await post.next()
    await post.deliver(document, failed=True)
    with pytest.raises(AgentFailed, match=r"the agent refused the task with .*: no such tensor") as failed:
        await post.poll()
    assert failed.value.passing == passing
    if passing:  # so its agent gets it again in the next try
        assert (await post.offer()).answer == "offered"
        assert isinstance(await post.next(), Taken)
    else:
        with pytest.raises(AgentFailed):
            await post.offer()


async def test_an_agent_that_takes_a_task_again_and_again_has_failed(post: Post) -> None:
    await post.offer()
    for _ in range(MOST_TAKES + 1):
        assert isinstance(await post.next(), Taken)
    with pytest.raises(AgentFailed, match=f"asked {MOST_TAKES + 1} times for this task"):
        await post.poll()
    assert (await post.poll()).answer == "unknown"


async def test_a_result_whose_file_is_gone_is_asked_for_again(post: Post) -> None:
    await post.offer()
    await post.next()
    await post.deliver()
    for name in post.files.names():
        post.files.remove(name)
    assert (await post.poll()).answer == "unknown"
    assert (await post.offer()).answer == "offered"


async def test_all_tasks_with_a_model_name_one_file(post: Post) -> None:
    await post.offer()
    await post.offer("t.1.b.fit")
    assert len(post.files.names()) == 1


async def test_a_task_is_offered_as_soon_as_nothing_removes_its_tensors_any_more(post: Post) -> None:
    await post.offer()
    (name,) = post.files.names()
    await post.mailbox.forget(AGENT, TASK.id)
    async with post.db.begin() as tx:
        until = await tx.removals.begin(name)
    assert until is not None
    offering = asyncio.create_task(post.offer())
    for _ in range(5):
        assert await asyncio.wait_for(post.clock.next_sleep(), 10) == WRITE_AGAIN_SECONDS
        post.clock.advance(WRITE_AGAIN_SECONDS)
    assert not offering.done()
    async with post.db.begin() as tx:
        await tx.removals.end(name, until)
    while not offering.done():  # more than once, if the database's clock still says when the removal ended
        post.clock.advance(WRITE_AGAIN_SECONDS)
        await asyncio.sleep(0.001)
    assert (await offering).answer == "offered"


async def test_a_body_without_its_origin_cannot_be_offered(post: Post) -> None:
    with pytest.raises(ValueError, match="does not say what it was made from"):
        await post.mailbox.hand_over(AGENT, TASK.id, TaskBody(b"", memoryview(b"")), post.spool)


async def test_an_agent_is_asked_for_initial_parameters(post: Post) -> None:
    watching = asyncio.create_task(post.watch.run())
    asking = asyncio.create_task(post.mailbox.initial_model(AGENT, post.spool, local=["head.*"], task_id="t.1.a.model"))
    taken = await post.pulls.next("a", (), 24.0, _stays)
    assert isinstance(taken, Taken)
    tensors, metadata = decode(taken.body.header)
    task = read_task(metadata)
    assert (tensors, task.id, task.kind, task.local_tensors) == ({}, "t.1.a.model", "model", ("head.*",))
    header, block = MODEL.payload()
    await post.deliver(header + bytes(block), "t.1.a.model")
    file = await asyncio.wait_for(asking, 10)
    assert bytes(post.spool.map(file.sha256)) == header + bytes(block)
    assert (await post.poll(task_id="t.1.a.model")).answer == "unknown"
    watching.cancel()


async def test_an_agent_that_has_no_initial_parameters_says_so(post: Post) -> None:
    watching = asyncio.create_task(post.watch.run())
    asking = asyncio.create_task(post.mailbox.initial_model(AGENT, post.spool, task_id="t.1.a.model"))
    await post.pulls.next("a", (), 24.0, _stays)
    await post.deliver(FAILURE, "t.1.a.model", failed=True)
    with pytest.raises(AgentFailed, match="the data file is missing"):
        await asyncio.wait_for(asking, 10)
    watching.cancel()


async def test_an_agent_is_healthy_as_long_as_it_gives_signs_of_life(post: Post) -> None:
    assert (await post.mailbox.health(AGENT)).alive
    post.clock.advance(31.0)
    health = await post.mailbox.health(AGENT)
    assert (health.alive, health.silence) == (False, "the agent has not asked for a task for 30 s")
    assert not await post.mailbox.has_frozen(AGENT, "f")


async def _stays() -> None:
    await asyncio.Event().wait()
