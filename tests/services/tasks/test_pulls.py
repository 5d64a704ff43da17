"""The agent's side of the mailbox: asking for a task."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.errors import IllegalTransition, NotFound, Removed
from app.domain.mailbox import MOST_KNOWN
from app.services.tasks.pulls import Nothing, Taken
from app.store.database import Database
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import decode
from tcsfeel.wire.digests import CONTENT_DIGEST
from tcsfeel.wire.signatures import WrongSignature, check_answer, task_components, wanted_signature
from tcsfeel.wire.tasks import read_task
from tests.services.tasks.mailing import AGENT, SEED, TASK, Post, posting, stays

DEVICE = Identity(b"d" * 32)


@pytest.fixture
async def post(db: Database, tmp_path: Path) -> AsyncIterator[Post]:
    async with posting(db, tmp_path) as found:
        yield found


def _task_of(taken: Taken | Nothing) -> str:
    assert isinstance(taken, Taken)
    return taken.task.id


async def test_a_task_is_sent_until_its_agent_names_it(post: Post) -> None:
    await post.offer()
    assert _task_of(await post.next()) == TASK.id
    assert _task_of(await post.next()) == TASK.id  # the answer was lost
    assert isinstance(await post.next(TASK.id), Nothing)


async def test_an_agent_gets_only_as_many_tasks_as_it_is_able_to_name(post: Post) -> None:
    names = [f"t.1.a.{number}" for number in range(MOST_KNOWN + 1)]
    for name in names:
        await post.offer(name)
    known: list[str] = []
    while isinstance(taken := await post.next(*known), Taken):
        known.append(taken.task.id)
    assert len(known) == MOST_KNOWN
    with post.watch.agent("a", known) as news:
        await post.watch.look()
        assert not news.done()
        assert not post.watch.may_have("a", known)
    assert _task_of(await post.next(*known[1:])) == known[0]


async def test_a_task_says_how_many_seconds_are_left(post: Post) -> None:
    await post.offer()
    post.clock.advance(20.0)
    taken = await post.next()
    assert isinstance(taken, Taken)
    tensors, metadata = decode(taken.body.header + bytes(taken.body.block))
    assert read_task(metadata).deadline_seconds == pytest.approx(40.0)
    assert tensors["w"].tolist() == [0.0] * 4
    post.clock.advance(40.0)
    assert isinstance(await post.next(), Nothing)


async def test_an_agent_that_waits_is_woken_by_an_offer(post: Post) -> None:
    watching = asyncio.create_task(post.watch.run())
    waiting = asyncio.create_task(post.next(wait=24.0))
    await asyncio.sleep(0)
    await post.offer()
    assert _task_of(await asyncio.wait_for(waiting, 10)) == TASK.id
    watching.cancel()


async def test_an_agent_is_told_which_of_its_tasks_are_no_longer_wanted(post: Post) -> None:
    await post.offer()
    await post.next()
    watching = asyncio.create_task(post.watch.run())
    waiting = asyncio.create_task(post.next(TASK.id, wait=24.0))
    await asyncio.sleep(0.01)
    await post.mailbox.forget(AGENT, TASK.id)
    assert await asyncio.wait_for(waiting, 10) == Nothing(0, (TASK.id,))
    watching.cancel()


async def test_the_end_of_a_deadline_stops_no_work_because_the_round_may_be_prolonged(post: Post) -> None:
    await post.offer()
    await post.next()
    post.clock.advance(TASK.deadline_seconds + 1)
    with post.watch.agent("a", (TASK.id,)) as news:
        await post.watch.look()
        assert not news.done()
        await post.mailbox.forget(AGENT, TASK.id)
        await post.watch.look()
        assert news.result().unwanted == (TASK.id,)


async def test_agents_that_find_no_place_are_sent_away_for_different_times(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path, places=1) as post:
        with post.watch.agent("b", ()):
            found = [await post.next(wait=24.0) for _ in range(20)]
    assert all(isinstance(one, Nothing) and 5 <= one.retry_after <= 15 for one in found)
    assert len(set(map(str, found))) > 3


async def test_a_server_that_stops_sends_every_agent_away(post: Post) -> None:
    waiting = asyncio.create_task(post.next(wait=24.0))
    await asyncio.sleep(0.01)
    post.watch.stop()
    for told in (await asyncio.wait_for(waiting, 10), await post.next(wait=24.0)):
        assert isinstance(told, Nothing)
        assert told.retry_after >= 5


async def test_a_caller_that_hangs_up_waits_no_longer(post: Post) -> None:
    async def gone() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await post.pulls.next("a", (), 24.0, gone)
    assert post.watch.waiting == 0


async def test_a_second_call_of_an_agent_takes_the_place_of_the_first(post: Post) -> None:
    first = asyncio.create_task(post.pulls.next("a", (), 24.0, stays))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(post.pulls.next("a", (), 24.0, stays))
    assert isinstance(await asyncio.wait_for(first, 10), Nothing)
    assert post.watch.waiting == 1
    second.cancel()


async def test_a_task_whose_file_is_gone_is_offered_again(post: Post) -> None:
    await post.offer()
    for name in post.files.names():
        post.files.remove(name)
    assert isinstance(await post.next(), Nothing)
    assert (await post.poll()).answer == "unknown"


async def test_a_device_with_a_key_gets_a_task_that_is_signed_for_its_question(db: Database, tmp_path: Path) -> None:
    server = Identity(SEED).public_key
    async with posting(db, tmp_path, public_key=DEVICE.public_key) as post:
        await post.offer()
        taken = await post.next(signature=wanted_signature(server, "n1"))
        unsigned = await post.next()
    assert isinstance(taken, Taken)
    assert isinstance(unsigned, Taken)
    components = task_components(taken.headers[CONTENT_DIGEST], DEVICE.public_key)
    check_answer(taken.headers, components, key=server, nonce="n1")
    with pytest.raises(WrongSignature, match="another question"):
        check_answer(taken.headers, components, key=server, nonce="n2")
    assert unsigned.headers.keys() == {CONTENT_DIGEST, "ETag", "Accept-Ranges"}


async def test_a_body_that_broke_off_can_be_had_again_with_the_same_bytes(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await post.offer()
        with pytest.raises(NotFound):  # it was not taken yet
            await post.pulls.again("a", TASK.id)
        taken = await post.next()
        assert isinstance(taken, Taken)
        post.clock.advance(7.0)
        again = await post.pulls.again("a", TASK.id)
        assert (again.body.header, again.body.block) == (taken.body.header, taken.body.block)
        assert again.headers["ETag"] == taken.headers["ETag"] == f'"{taken.body.sha256}"'
        with pytest.raises(NotFound):
            await post.pulls.again("b", TASK.id)
        reply = await post.poll()
        assert reply.sent == len(taken.body)  # what is fetched again is not counted again
        await post.deliver()
        with pytest.raises(IllegalTransition):
            await post.pulls.again("a", TASK.id)
        await post.mailbox.forget(AGENT, TASK.id)
        with pytest.raises(Removed):
            await post.pulls.again("a", TASK.id)
