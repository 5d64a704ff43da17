"""Results that agents have put into a bucket, and whatever else they put there."""

from pathlib import Path

import httpx2
import obstore
import pytest
from structlog.testing import capture_logs

from app.domain.errors import NotFound
from app.store.bucket import PART, BucketStore, ObjectStoreUnavailable
from app.store.bucket_uploads import BucketUploads
from app.store.model_store import FileTooLarge, ModelStore
from app.store.presigned import PresignedUrls
from tests.buckets import BucketServer

TASK, OTHER = "t.1.a.fit", "t.1.b.fit"


@pytest.fixture
def uploads(bucket_server: BucketServer) -> BucketUploads:
    return BucketUploads(bucket_server.bucket)


@pytest.mark.parametrize("size", [0, 5, PART + 1])
def test_what_was_put_at_the_url_of_a_task_is_its_upload_alone(
    uploads: BucketUploads, bucket_server: BucketServer, size: int
) -> None:
    url = PresignedUrls(bucket_server.bucket).to_write(TASK, 60.0)
    assert httpx2.put(url, content=bytes(size)).is_success
    assert bucket_server.names() == [f"some/prefix/uploads/{TASK}"]
    assert b"".join(uploads.parts(TASK, size)) == bytes(size)
    with pytest.raises(NotFound, match="upload of the task"):
        list(uploads.parts(OTHER, size))
    uploads.remove(OTHER)
    uploads.remove(TASK)
    assert bucket_server.names() == []


def test_an_upload_that_is_too_large_is_not_read(uploads: BucketUploads, bucket_server: BucketServer) -> None:
    obstore.put(bucket_server.objects, f"some/prefix/uploads/{TASK}", b"hello")
    with pytest.raises(FileTooLarge):
        next(uploads.parts(TASK, 4))


def test_a_bucket_that_is_away_is_no_missing_upload(uploads: BucketUploads, bucket_server: BucketServer) -> None:
    with bucket_server.refusing():
        for call in (lambda: list(uploads.parts(TASK, 9)), lambda: uploads.remove(TASK), lambda: uploads.sweep(0.0)):
            with pytest.raises(ObjectStoreUnavailable, match="403"):
                call()


def test_uploads_that_nobody_took_are_swept_and_models_kept(
    uploads: BucketUploads, bucket_server: BucketServer, tmp_path: Path
) -> None:
    store = BucketStore(bucket_server.bucket, ModelStore(tmp_path), uploads=uploads)
    model = store.write([b"hello"]).sha256
    for task in (TASK, OTHER):
        obstore.put(bucket_server.objects, f"some/prefix/uploads/{task}", b"left")
    assert (uploads.sweep(3600.0), len(bucket_server.names())) == (0, 3)
    with bucket_server.refusing(), capture_logs() as logs:
        assert store.sweep(-3600.0) == 0
    assert [entry["event"] for entry in logs] == ["uploads could not be swept"]
    assert store.sweep(-3600.0) == 2
    assert bucket_server.names() == [f"some/prefix/{model}"]
