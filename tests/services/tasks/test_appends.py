"""Results that come in parts.

Covers: app.services.tasks.deliveries
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.errors import IllegalTransition, LimitReached, NotFound, Removed
from app.domain.mailbox import Delivery
from app.domain.uploads import LEAST_PART_BYTES, MOST_PARTS, UploadPart, WrongOffset
from app.services.tasks.appends import BrokenOff, Progress
from app.services.tasks.deliveries import CorruptedResult, WrongResultSignature, coding_of, is_repeated, pieces_of
from app.store.database import Database
from app.store.model_store import FileTooLarge
from tcsfeel.errors import Invalid
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import encode
from tcsfeel.wire.digests import REPR_DIGEST, digest_of, written_digest
from tcsfeel.wire.signatures import result_components, sign_answer
from tcsfeel.wire.tasks import TaskResult, result_metadata
from tests.services.tasks.mailing import AGENT, TASK, Post, once, posting

LARGE = encode({"w": np.arange(60_000, dtype=np.float32)}, result_metadata(TaskResult(num_examples=10, loss=0.5)))
HALF = 120_000
MOST = 300_000


def digest(body: bytes = LARGE) -> Mapping[str, str]:
    return {REPR_DIGEST.lower(): written_digest(digest_of([body]))}


async def broken(body: bytes) -> AsyncIterator[bytes]:
    """A body that breaks off after its last byte."""
    yield body
    raise BrokenOff


async def append(
    post: Post, body: bytes | AsyncIterator[bytes], offset: int, *, complete: bool = False, by: str = "a", **said: str
) -> Progress:
    headers = {**digest(), **{name.lower().replace("_", "-"): value for name, value in said.items()}}
    sent = once(body) if isinstance(body, bytes) else body
    return await post.appends.append(by, TASK.id, headers, sent, offset=offset, complete=complete)


async def offer(post: Post) -> None:
    await post.offer(limit=MOST)


async def test_the_parts_of_a_result_become_its_file_and_are_forgotten(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        assert await post.appends.progress("a", TASK.id) == Progress(0, complete=False, most=MOST)
        assert await append(post, LARGE[:HALF], 0) == Progress(HALF, complete=False, most=MOST)
        assert await post.appends.progress("a", TASK.id) == Progress(HALF, complete=False, most=MOST)
        assert (await append(post, LARGE[HALF:], HALF, complete=True)).complete
        assert await post.appends.progress("a", TASK.id) == Progress(len(LARGE), complete=True, most=MOST)
        reply = await post.poll()
        assert reply.file is not None
        assert bytes(post.spool.map(reply.file.sha256)) == LARGE
        async with db.read() as tx:
            assert await tx.uploads.parts(TASK.id) == []
        assert (await append(post, b"", 0, complete=True)).complete  # an answer that got lost is given again


async def test_what_a_call_has_brought_before_it_broke_off_stays(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        with pytest.raises(BrokenOff):
            await append(post, broken(LARGE[:HALF]), 0, complete=True)
        assert (await post.appends.progress("a", TASK.id)).offset == HALF
        with pytest.raises(BrokenOff):  # too little to be worth a file
            await append(post, broken(LARGE[HALF : HALF + LEAST_PART_BYTES - 1]), HALF)
        assert (await append(post, LARGE[HALF:], HALF, complete=True)).complete


async def test_a_caller_who_comes_back_ends_its_earlier_call_and_goes_on_where_that_ended(
    db: Database, tmp_path: Path
) -> None:
    async with posting(db, tmp_path) as post, asyncio.timeout(20):
        await offer(post)
        begun = asyncio.Event()

        async def silent() -> AsyncIterator[bytes]:
            yield LARGE[:HALF]
            begun.set()
            await asyncio.Event().wait()

        earlier = asyncio.create_task(append(post, silent(), 0))
        await begun.wait()
        assert (await post.appends.progress("a", TASK.id)).offset == HALF
        with pytest.raises(BrokenOff):
            await earlier


async def test_a_part_at_another_byte_is_refused_and_told_where_to_go_on(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        await append(post, LARGE[:HALF], 0)
        for offset in (0, HALF + 1):
            with pytest.raises(WrongOffset, match=f"Upload-Offset is {offset}, and {HALF} bytes") as refused:
                await append(post, LARGE[HALF:], offset)
            assert refused.value.offset == HALF


async def test_another_server_goes_on_with_what_is_there(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        await append(post, LARGE[:HALF], 0)
        second = replace(post, appends=post.another())
        assert (await append(second, LARGE[HALF:], HALF, complete=True)).complete


async def test_two_servers_that_append_at_once_store_the_bytes_once(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        second = replace(post, appends=post.another())
        both = [append(one, LARGE[:HALF], 0) for one in (post, second)]
        ended = await asyncio.gather(*both, return_exceptions=True)
        assert {type(one) for one in ended} == {Progress, WrongOffset}
        assert (await post.appends.progress("a", TASK.id)).offset == HALF


async def test_a_whole_that_is_not_what_was_sent_is_forgotten(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        await append(post, bytes(HALF), 0)
        with pytest.raises(CorruptedResult):
            await append(post, LARGE[HALF:], HALF, complete=True)
        assert await post.appends.progress("a", TASK.id) == Progress(0, complete=False, most=MOST)
        assert (await post.poll()).answer == "offered"


async def test_a_result_of_which_a_part_is_gone_from_the_store_begins_again(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        await append(post, LARGE[:HALF], 0)
        async with db.read() as tx:
            (part,) = await tx.uploads.parts(TASK.id)
        post.files.remove(part.sha256)
        with pytest.raises(CorruptedResult):
            await append(post, LARGE[HALF:], HALF, complete=True)
        assert (await append(post, LARGE, 0, complete=True)).complete


async def test_a_part_that_does_not_fit_its_own_digest_is_not_kept(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        with pytest.raises(CorruptedResult):
            await append(post, LARGE[:HALF], 0, content_digest=digest(b"other")[REPR_DIGEST.lower()])
        assert (await post.appends.progress("a", TASK.id)).offset == 0


async def test_a_result_has_the_same_bounds_in_parts_as_in_one_call(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        await append(post, bytes(MOST - 1), 0)
        with pytest.raises(FileTooLarge, match=str(MOST)):
            await append(post, b"12", MOST - 1)
        with pytest.raises(Invalid, match="Content-Encoding 'br'"):
            await append(post, b"1", MOST - 1, content_encoding="br")


async def test_unfinished_uploads_have_bounds(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        full = UploadPart("t.9.a.fit", "a", 0, 1_000_000 - HALF, "f" * 64, 0.1)
        async with db.begin() as tx:
            await tx.uploads.add(full)
        await append(post, LARGE[:HALF], 0)
        with pytest.raises(LimitReached, match="TCSFEEL_LIMITS__CLIENT_UNFINISHED_BYTES") as refused:
            await append(post, LARGE[HALF:], HALF)
        assert refused.value.retry_after == 30.0
        async with db.begin() as tx:
            await tx.uploads.drop(full.task_id)
            await tx.uploads.add(replace(full, client_id="b", size=2_000_000 - HALF - 10))
        with pytest.raises(LimitReached, match=r"room for 10 further bytes.*TCSFEEL_LIMITS__UNFINISHED_BYTES"):
            await append(post, LARGE[HALF:], HALF)


async def test_a_refusal_names_the_limit_that_leaves_the_least_room(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        async with db.begin() as tx:
            await tx.uploads.add(UploadPart("t.9.a.fit", "a", 0, 999_990, "f" * 64, 0.1))
        with pytest.raises(LimitReached, match=r"room for 10 further bytes.*TCSFEEL_LIMITS__CLIENT_UNFINISHED_BYTES"):
            await append(post, LARGE[:HALF], 0)


async def test_a_result_that_has_all_the_room_and_needs_more_is_to_be_sent_in_one_call(
    db: Database, tmp_path: Path
) -> None:
    async with posting(db, tmp_path) as post:
        await post.offer(limit=1_000_000)
        await append(post, bytes(1_000_000), 0)
        with pytest.raises(Invalid, match=r"TCSFEEL_LIMITS__CLIENT_UNFINISHED_BYTES.*send it by PUT"):
            await append(post, LARGE, 1_000_000, complete=True)


@pytest.mark.untraced
async def test_a_result_in_too_many_parts_is_to_be_sent_in_one_call(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        async with db.begin() as tx:
            for number in range(MOST_PARTS):
                await tx.uploads.add(UploadPart(TASK.id, "a", number, 1, "f" * 64, 0.0))
        with pytest.raises(Invalid, match="send it again by PUT"):
            await append(post, b"1", MOST_PARTS)
        await post.deliver()  # which makes it whole


async def test_nobody_else_gets_at_an_upload(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        await append(post, LARGE[:HALF], 0)
        with pytest.raises(NotFound):
            await append(post, LARGE[HALF:], HALF, by="b")
        with pytest.raises(NotFound):
            await post.appends.progress("b", TASK.id)


async def test_the_parts_of_a_task_that_is_not_wanted_are_removed_with_it(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        await append(post, LARGE[:HALF], 0)
        async with db.read() as tx:
            (part,) = await tx.uploads.parts(TASK.id)
            assert part.sha256 not in await tx.removals.due(0.0, 10)
        await post.mailbox.forget(AGENT, TASK.id)
        async with db.read() as tx:
            assert await tx.uploads.parts(TASK.id) == []
            assert part.sha256 in await tx.removals.due(600.0, 10)
        with pytest.raises(Removed):
            await append(post, LARGE[HALF:], HALF)


async def test_a_task_that_has_its_result_takes_no_other(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        await append(post, LARGE[:HALF], 0)
        await post.deliver()
        with pytest.raises(IllegalTransition):
            await append(post, LARGE[HALF:], HALF)


async def test_a_task_that_is_cancelled_while_a_part_comes_takes_it_not(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)

        async def meanwhile() -> AsyncIterator[bytes]:
            yield LARGE[:HALF]
            await post.mailbox.forget(AGENT, TASK.id)

        with pytest.raises(Removed):
            await append(post, meanwhile(), 0)


async def test_a_device_with_a_key_signs_its_parts(db: Database, tmp_path: Path) -> None:
    device = Identity(b"d" * 32)
    async with posting(db, tmp_path, public_key=device.public_key) as post:
        await offer(post)
        with pytest.raises(WrongResultSignature):
            await append(post, LARGE[:HALF], 0)
        where, named = f"/v1/clients/a/tasks/{TASK.id}/result", digest()[REPR_DIGEST.lower()]
        _, headers = sign_answer(device, result_components(where, named, "PATCH"), now=1.0)
        assert (
            await append(post, LARGE, 0, complete=True, **{n.replace("-", "_"): v for n, v in headers.items()})
        ).complete
        reply = await post.poll()
        assert reply.evidence is not None
        assert '"@method": PATCH' in reply.evidence.answer


async def test_what_parts_and_whole_results_have_in_common(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await offer(post)
        task = await post.deliveries.find("a", TASK.id)
        assert await post.deliveries.verified(task, {}, "", "PATCH") is None  # the client has no key
        assert coding_of(task, {}) == coding_of(task, {"content-encoding": "Identity"}) == "identity"
        assert [bytes(piece) for piece in pieces_of(memoryview(b"ab"))] == [b"ab"]
        await post.deliveries.move(TASK.id)
        await post.deliveries.keep(task, lambda: pieces_of(memoryview(LARGE)), Delivery())
        delivered = await post.deliveries.find("a", TASK.id)
        assert delivered.moved_at == post.clock.now()
        assert is_repeated(delivered, digest_of([LARGE]))
        assert not is_repeated(delivered, digest_of([b"other"]))
        assert not is_repeated(task, digest_of([LARGE]))
