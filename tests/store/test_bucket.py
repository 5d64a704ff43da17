"""Parameters in a bucket: the contract that directories keep as well, and what only a store elsewhere can do."""

import hashlib
import mmap
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import obstore
import pytest

from app.buckets import Bucket
from app.domain.errors import NotFound
from app.store.bucket import PART, BucketStore, ObjectStoreUnavailable
from app.store.model_store import ModelFiles, ModelStore, StoredFile, StoreUnavailable
from tests.buckets import CREDENTIALS, BucketServer
from tests.serving import serving

HELLO = hashlib.sha256(b"hello").hexdigest()
KEY = f"some/prefix/{HELLO}"


@pytest.fixture(params=["directory", "bucket"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> ModelFiles:
    directory = ModelStore(tmp_path / "models")
    if request.param == "directory":
        return directory
    server: BucketServer = request.getfixturevalue("bucket_server")
    return BucketStore(server.bucket, directory)


@pytest.fixture
def here(bucket_server: BucketServer, tmp_path: Path) -> BucketStore:
    return BucketStore(bucket_server.bucket, ModelStore(tmp_path / "here"))


@pytest.fixture
def elsewhere(bucket_server: BucketServer, tmp_path: Path) -> BucketStore:
    """Another machine's."""
    return BucketStore(bucket_server.bucket, ModelStore(tmp_path / "elsewhere"))


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*"))


def test_a_file_is_named_by_the_hash_of_its_bytes(models: ModelFiles) -> None:
    assert models.write([b"hel", memoryview(b"lo")]) == StoredFile(HELLO, 5)
    assert models.write([b"hello"]) == StoredFile(HELLO, 5)  # the same file twice
    assert models.path(HELLO).read_bytes() == b"hello"
    view = models.map(HELLO)
    assert bytes(view) == b"hello"
    assert view.readonly
    assert isinstance(view.obj, mmap.mmap)


def test_an_empty_file_is_a_file_too(models: ModelFiles) -> None:
    empty = models.write([])
    assert empty == StoredFile(hashlib.sha256(b"").hexdigest(), 0)
    assert bytes(models.map(empty.sha256)) == b""


@pytest.mark.parametrize("name", ["", "..", "../secret", "/etc/passwd", HELLO.upper(), HELLO + "0", "\0", "0" * 64])
def test_a_name_that_is_not_the_hash_of_a_file_there_is_not_found(
    models: ModelFiles, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    models.write([b"hello"])
    with pytest.raises(NotFound):
        models.path(name)
    with pytest.raises(NotFound):
        models.map(name)


def test_a_file_that_was_removed_is_gone_until_it_is_written_again(models: ModelFiles, tmp_path: Path) -> None:
    models.write([b"hello"])
    view = models.map(HELLO)
    models.remove(HELLO)
    models.remove(HELLO)  # it is not there, which is as it should be
    for _ in range(2):
        with pytest.raises(NotFound):
            models.path(HELLO)
    assert files(tmp_path / "models") == []
    assert bytes(view) == b"hello"  # who has it keeps it
    models.write([b"hello"])
    assert models.path(HELLO).read_bytes() == b"hello"


@pytest.mark.parametrize("name", ["", "..", "../secret", "/etc/passwd", HELLO.upper(), "\0", "0" * 64])
def test_removing_what_is_no_file_there_removes_nothing(models: ModelFiles, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    models.write([b"hello"])
    models.remove(name)
    assert (tmp_path / "secret").exists()
    assert models.path(HELLO).read_bytes() == b"hello"


def test_a_source_that_raises_leaves_nothing(models: ModelFiles, tmp_path: Path) -> None:
    def failing() -> Iterable[bytes]:
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        models.write(failing())
    assert files(tmp_path / "models") == []


def test_a_disk_that_takes_nothing_in_is_told(models: ModelFiles, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the directory should be")
    with pytest.raises(StoreUnavailable) as caught:
        models.write([b"hello"])
    assert not isinstance(caught.value, ObjectStoreUnavailable)


def test_unfinished_files_are_swept_and_finished_ones_kept(models: ModelFiles, tmp_path: Path) -> None:
    models.write([b"hello"])
    left = tmp_path / "models" / ".0123456789abcdef.part"
    left.write_bytes(b"hel")
    os.utime(left, (0, 0))
    assert models.sweep(60.0) == 1
    assert files(tmp_path / "models") == [HELLO]


def test_what_one_machine_stores_another_one_has(
    here: BucketStore, elsewhere: BucketStore, bucket_server: BucketServer, tmp_path: Path
) -> None:
    here.write([b"hello"])
    assert bucket_server.names() == [KEY]
    assert bytes(elsewhere.map(HELLO)) == b"hello"
    assert files(tmp_path / "elsewhere") == [HELLO]


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 3 * PART + 5])
def test_a_file_of_several_parts_goes_and_comes_whole(here: BucketStore, elsewhere: BucketStore, size: int) -> None:
    whole = os.urandom(size)
    stored = here.write([whole])
    assert stored == StoredFile(hashlib.sha256(whole).hexdigest(), size)
    assert elsewhere.path(stored.sha256).read_bytes() == whole


def test_what_was_needed_once_needs_no_bucket_any_more(elsewhere: BucketStore, bucket_server: BucketServer) -> None:
    obstore.put(bucket_server.objects, KEY, b"hello")
    elsewhere.path(HELLO)
    bucket_server.stop()
    assert elsewhere.path(HELLO).read_bytes() == b"hello"
    assert bytes(elsewhere.map(HELLO)) == b"hello"


@pytest.mark.parametrize("other", [b"", b"hell", b"hellO", b"hello" * PART])
def test_an_object_that_holds_other_bytes_is_refused_and_not_kept(
    elsewhere: BucketStore, bucket_server: BucketServer, tmp_path: Path, other: bytes
) -> None:
    obstore.put(bucket_server.objects, KEY, other)
    with pytest.raises(ObjectStoreUnavailable, match=f"{HELLO} holds other bytes than were stored"):
        elsewhere.map(HELLO)
    assert files(tmp_path / "elsewhere") == []
    obstore.put(bucket_server.objects, KEY, b"hello")
    assert bytes(elsewhere.map(HELLO)) == b"hello"


def test_a_file_is_stored_once_the_bucket_has_it_and_not_before(
    here: BucketStore, elsewhere: BucketStore, bucket_server: BucketServer
) -> None:
    bucket_server.stop()
    with pytest.raises(ObjectStoreUnavailable, match=r"some/prefix: no answer \(Connect\)"):
        here.write([b"hello"])
    with pytest.raises(ObjectStoreUnavailable, match=r"some/prefix: no answer \(Connect\)"):
        elsewhere.path(HELLO)  # nobody knows whether there is such a file
    bucket_server.start()
    with pytest.raises(NotFound):
        elsewhere.path(HELLO)
    here.write([b"hello"])  # although the file lies here already
    assert bytes(elsewhere.map(HELLO)) == b"hello"


def test_credentials_that_are_refused_are_neither_a_missing_file_nor_in_the_error(
    here: BucketStore, elsewhere: BucketStore, bucket_server: BucketServer
) -> None:
    with bucket_server.refusing():
        for call in (lambda: here.write([b"hello"]), lambda: elsewhere.path(HELLO)):
            with pytest.raises(ObjectStoreUnavailable) as caught:
                call()
            assert str(caught.value) == f"s3://{bucket_server.name}/some/prefix: 403 InvalidAccessKeyId"
    assert here.write([b"hello"]).sha256 == HELLO


def test_a_bucket_that_is_not_there_is_no_missing_file(bucket_server: BucketServer, tmp_path: Path) -> None:
    missing = BucketStore(Bucket("no-such-bucket", "", bucket_server.endpoint, "us-east-1"), ModelStore(tmp_path))
    for call in (lambda: missing.path(HELLO), lambda: missing.write([b"hello"])):
        with pytest.raises(ObjectStoreUnavailable, match="s3://no-such-bucket: 404 NoSuchBucket"):
            call()


def test_what_a_store_says_of_the_credentials_is_not_repeated(tmp_path: Path, credentials: dict[str, str]) -> None:
    body = (
        f"<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>{credentials['AWS_ACCESS_KEY_ID']}</AWSAccessKeyId>"
    )
    with answering(403, body + "</Error>") as endpoint:
        store = BucketStore(Bucket("models", "", endpoint), ModelStore(tmp_path))
        with pytest.raises(ObjectStoreUnavailable) as caught:
            store.write([b"hello"])
    assert str(caught.value) == "s3://models: 403 SignatureDoesNotMatch"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_404_of_something_else_than_a_store_is_no_missing_file(tmp_path: Path, credentials: dict[str, str]) -> None:
    assert credentials == CREDENTIALS
    with answering(404, "<h1>Not Found</h1>") as endpoint:
        store = BucketStore(Bucket("models", "", endpoint), ModelStore(tmp_path))
        with pytest.raises(ObjectStoreUnavailable, match=r"^s3://models: 404$"):
            store.path(HELLO)


def test_a_store_that_falls_silent_is_given_up(tmp_path: Path, credentials: dict[str, str]) -> None:
    assert credentials == CREDENTIALS
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = BucketStore(Bucket("models", "", endpoint), ModelStore(tmp_path), patience=0.2)
        began = time.monotonic()
        with pytest.raises(ObjectStoreUnavailable, match=r"no answer \(Timeout\)"):
            store.path(HELLO)
        assert time.monotonic() - began < 15  # a busy machine takes longer than 0.2 s, and the usual patience is 30 s


def test_an_object_is_removed_with_the_copy_here_and_other_machines_keep_theirs(
    here: BucketStore, elsewhere: BucketStore, bucket_server: BucketServer, tmp_path: Path
) -> None:
    here.write([b"hello"])
    here.write([b"other"])
    elsewhere.map(HELLO)
    here.remove(HELLO)
    assert bucket_server.names() == [f"some/prefix/{hashlib.sha256(b'other').hexdigest()}"]
    assert files(tmp_path / "here") == [hashlib.sha256(b"other").hexdigest()]
    assert bytes(elsewhere.map(HELLO)) == b"hello"
    here.write([b"hello"])
    assert KEY in bucket_server.names()


def test_what_the_bucket_does_not_remove_stays_here_as_well(
    here: BucketStore, bucket_server: BucketServer, tmp_path: Path
) -> None:
    here.write([b"hello"])
    bucket_server.stop()
    with pytest.raises(ObjectStoreUnavailable):
        here.remove(HELLO)
    bucket_server.start()
    with bucket_server.refusing(), pytest.raises(ObjectStoreUnavailable, match="403"):
        here.remove(HELLO)
    assert files(tmp_path / "here") == [HELLO]
    assert bucket_server.names() == [KEY]
    here.remove(HELLO)
    assert bucket_server.names() == []


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """Where one answer is given to whatever is asked."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = _answer  # noqa: N815  (the names that the base class looks up)

        def log_message(self, *_: object) -> None:
            pass

    with serving(HTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"
