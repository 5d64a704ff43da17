"""The results that agents bring: which are taken, and how each other one is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.errors import IllegalTransition, NotFound, Removed
from app.services.tasks.deliveries import CorruptedResult, WrongResultSignature
from app.store.database import Database
from app.store.model_store import FileTooLarge
from tcsfeel.errors import Invalid
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.signatures import result_components, sign_answer
from tests.services.tasks.mailing import AGENT, FAILURE, RESULT, TASK, Post, once, posting

DEVICE = Identity(b"d" * 32)
PATH = f"/v1/clients/a/tasks/{TASK.id}/result"


@pytest.fixture
async def post(db: Database, tmp_path: Path) -> AsyncIterator[Post]:
    async with posting(db, tmp_path) as found:
        await found.offer()
        await found.next()
        yield found


def _signed(path: str = PATH, body: bytes = RESULT, by: Identity = DEVICE) -> dict[str, str]:
    _, headers = sign_answer(by, result_components(path, written_digest(digest_of([body]))), now=1.0)
    return {name.lower(): value for name, value in headers.items()}


async def test_the_first_result_counts_and_the_same_again_is_no_error(post: Post) -> None:
    await post.deliver()
    await post.deliver()
    with pytest.raises(IllegalTransition, match="'deliver' is not possible in the status 'delivered'"):
        await post.deliver(RESULT + b"x")
    reply = await post.poll()
    assert reply.file is not None
    assert bytes(post.spool.map(reply.file.sha256)) == RESULT


async def test_a_late_result_is_refused_and_leaves_no_file(post: Post) -> None:
    await post.mailbox.forget(AGENT, TASK.id)
    before = post.files.names()
    with pytest.raises(Removed, match="its round went on without it"):
        await post.deliver()
    assert post.files.names() == before


async def test_a_task_that_is_cancelled_while_its_result_comes_in_gets_none(post: Post) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield RESULT[:10]
        await post.mailbox.forget(AGENT, TASK.id)
        yield RESULT[10:]

    with pytest.raises(Removed):
        await post.deliveries.take("a", TASK.id, {"content-type": MEDIA_TYPE}, slow(), failed=False)
    async with post.db.begin() as tx:
        assert digest_of([RESULT]).hex() in await tx.removals.due(600.0, 10)


async def test_a_delivery_that_waits_for_its_task_keeps_none_of_its_files_locked(post: Post) -> None:
    begun, going_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield RESULT[:10]
        begun.set()
        await going_on.wait()
        yield RESULT[10:]

    taking = post.deliveries.take("a", TASK.id, {"content-type": MEDIA_TYPE}, slow(), failed=False)
    delivering = asyncio.create_task(taking)
    await begun.wait()
    await post.deliver()  # the same result, over another connection
    async with post.db.begin() as tx:
        freed = await tx.mailbox.cancel([TASK.id])
        going_on.set()
        await asyncio.sleep(0.1)  # so that the delivery waits for the task
        await tx.removals.request(freed, at_once=True)
    with pytest.raises(Removed):
        await delivering


async def test_nobody_delivers_for_another_client_or_an_unknown_task(post: Post) -> None:
    for by, task_id in (("b", TASK.id), ("a", "t.2.a.fit")):
        with pytest.raises(NotFound):
            await post.deliver(by=by, task_id=task_id)
    assert (await post.poll()).answer == "working"


async def test_a_result_that_was_corrupted_on_the_way_may_come_again(post: Post) -> None:
    headers = {CONTENT_DIGEST.lower(): written_digest(digest_of([b"other"]))}
    for failed in (False, True):
        with pytest.raises(CorruptedResult):
            await post.deliveries.take("a", TASK.id, headers, once(RESULT), failed=failed)
    await post.deliver()


async def test_the_size_of_a_result_follows_from_its_model(post: Post) -> None:
    with pytest.raises(FileTooLarge):
        await post.deliver(b"x" * 1_001)
    with pytest.raises(FileTooLarge):
        await post.deliveries.take("a", TASK.id, {}, once(b"x" * 1_001), failed=False)
    with pytest.raises(FileTooLarge):
        await post.deliver(b"x" * 16_001, failed=True)


async def test_a_coding_that_was_not_asked_for_is_refused(post: Post) -> None:
    with pytest.raises(Invalid, match="Content-Encoding 'zstd' is not accepted"):
        await post.deliver(said={"content-encoding": "zstd"})


async def test_a_failure_is_taken_once_and_only_for_a_task_that_was_taken(post: Post) -> None:
    await post.deliver(FAILURE, failed=True)
    assert (await post.poll()).answer == "raised"
    await post.mailbox.forget(AGENT, TASK.id)
    await post.offer()
    with pytest.raises(IllegalTransition):  # the agent repeats the failure of the try before
        await post.deliver(FAILURE, failed=True)
    assert (await post.poll()).answer == "offered"


async def test_a_device_with_a_key_signs_its_results(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path, public_key=DEVICE.public_key) as post:
        await post.offer()
        await post.next()
        for wrong in (
            {},
            _signed(path=PATH.replace("t.1", "t.2")),
            _signed(body=RESULT + b"x"),
            _signed(by=Identity(b"e" * 32)),
            {**_signed(), CONTENT_DIGEST.lower(): ""},
        ):
            with pytest.raises(WrongResultSignature):
                await post.deliver(said=wrong)
        await post.deliver(said=_signed())
        reply = await post.poll()
    assert reply.evidence is not None
    assert reply.evidence.answer.startswith(f'"@method": PUT\n"@path": {PATH}\n')
