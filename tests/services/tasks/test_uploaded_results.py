"""Results that agents put into the bucket: they are checked like those that come to the server.

Covers: app.services.tasks.deliveries
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
import pytest

from app.domain.errors import NotFound, Removed
from app.services.tasks.deliveries import CorruptedResult, WrongResultSignature
from app.store.bucket import ObjectStoreUnavailable
from app.store.bucket_uploads import BucketUploads
from app.store.database import Database
from app.store.model_store import FileTooLarge
from tcsfeel.errors import Invalid
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tests.buckets import BucketServer
from tests.services.tasks.mailing import AGENT, RESULT, TASK, Post, posting

OTHER = "t.1.a.evaluate"
HEADERS = {"content-type": MEDIA_TYPE, CONTENT_DIGEST.lower(): written_digest(digest_of([RESULT]))}


@pytest.fixture
async def post(db: Database, tmp_path: Path, bucket_server: BucketServer) -> AsyncIterator[Post]:
    async with posting(db, tmp_path, bucket=BucketUploads(bucket_server.bucket)) as found:
        await found.offer()
        await found.next()
        yield found


def put(server: BucketServer, body: bytes = RESULT, task_id: str = TASK.id) -> None:
    obstore.put(server.objects, f"some/prefix/uploads/{task_id}", body)


async def test_an_upload_is_the_result_of_its_task_and_leaves_the_bucket(
    post: Post, bucket_server: BucketServer
) -> None:
    put(bucket_server)
    told = (post.deliveries.take_uploaded("a", TASK.id, HEADERS) for _ in range(3))
    await asyncio.gather(*told)  # since the agent did not wait for the answer
    await post.deliveries.take_uploaded("a", TASK.id, HEADERS)  # or the answer got lost
    assert bucket_server.names() == []
    reply = await post.poll()
    assert reply.file is not None
    assert bytes(post.spool.map(reply.file.sha256)) == RESULT
    assert reply.seconds == 0, "the link from the bucket is not that of the device"


@pytest.mark.parametrize("body", [RESULT + b"x", RESULT[:-1] + b"\xff", b""])
async def test_an_upload_with_other_bytes_is_no_result(post: Post, bucket_server: BucketServer, body: bytes) -> None:
    put(bucket_server, body)
    with pytest.raises(CorruptedResult):
        await post.deliveries.take_uploaded("a", TASK.id, HEADERS)
    assert (await post.poll()).answer == "working"
    assert (bucket_server.names(), post.files.names()) == ([], [post_model(post)])
    await post.deliver()  # through the server
    assert (await post.poll()).answer == "result"


def post_model(post: Post) -> str:
    """The file of the task's model, which is all that the store has before there is a result."""
    (name,) = post.files.names()
    return name


async def test_an_upload_that_is_too_large_is_removed_unread(post: Post, bucket_server: BucketServer) -> None:
    put(bucket_server, bytes(1_001))
    with pytest.raises(FileTooLarge):
        await post.deliveries.take_uploaded("a", TASK.id, HEADERS)
    assert bucket_server.names() == []


async def test_the_upload_of_another_task_is_not_taken(post: Post, bucket_server: BucketServer) -> None:
    put(bucket_server, task_id=OTHER)
    with pytest.raises(CorruptedResult):
        await post.deliveries.take_uploaded("a", TASK.id, HEADERS)
    with pytest.raises(NotFound):
        await post.deliveries.take_uploaded("b", TASK.id, HEADERS)  # nor by another client
    assert bucket_server.names() == [f"some/prefix/uploads/{OTHER}"]


async def test_an_upload_without_a_digest_is_refused(post: Post, bucket_server: BucketServer) -> None:
    put(bucket_server)
    with pytest.raises(Invalid, match="send the result itself"):
        await post.deliveries.take_uploaded("a", TASK.id, {"content-type": MEDIA_TYPE})


async def test_an_upload_to_a_server_without_a_bucket_is_refused(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await post.offer()
        await post.next()
        with pytest.raises(Invalid, match="send the result itself"):
            await post.deliveries.take_uploaded("a", TASK.id, HEADERS)


async def test_a_bucket_that_is_away_is_not_the_fault_of_the_agent(post: Post, bucket_server: BucketServer) -> None:
    put(bucket_server)
    with bucket_server.refusing(), pytest.raises(ObjectStoreUnavailable):
        await post.deliveries.take_uploaded("a", TASK.id, HEADERS)
    await post.deliveries.take_uploaded("a", TASK.id, HEADERS)
    assert (await post.poll()).answer == "result"


async def test_an_upload_for_a_task_that_is_not_wanted_is_not_read(post: Post, bucket_server: BucketServer) -> None:
    await post.mailbox.forget(AGENT, TASK.id)
    put(bucket_server)
    with pytest.raises(Removed):
        await post.deliveries.take_uploaded("a", TASK.id, HEADERS)


async def test_a_device_with_a_key_signs_what_it_has_put_there(
    db: Database, tmp_path: Path, bucket_server: BucketServer
) -> None:
    key, bucket = Identity(b"d" * 32).public_key, BucketUploads(bucket_server.bucket)
    async with posting(db, tmp_path, public_key=key, bucket=bucket) as post:
        await post.offer()
        await post.next()
        put(bucket_server)
        with pytest.raises(WrongResultSignature):
            await post.deliveries.take_uploaded("a", TASK.id, HEADERS)
    assert bucket_server.names() != []  # unread
