"""Parameters as objects of an S3-compatible bucket, behind a directory of the files that this machine has read or made.

An object's name is the SHA-256 of its bytes, so a reader can tell whether it is what was stored, and storing
the same parameters twice is harmless. Credentials are those that obstore finds in the environment (``AWS_…``). What the
store answers may repeat them in part, so errors carry only its status and its code.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from app.domain.errors import NotFound
from app.settings import Bucket
from app.store.model_store import SHA256, ModelStore, StoredFile, StoreUnavailable

PART = 8 << 20  # bytes in one request, or in each of several; S3 takes no fewer than 5 MiB, nor more than 10 000 parts
UPLOADS = 2  # parts of one model that are on their way at a time
CONNECT_SECONDS = 5.0
PATIENCE = 30.0  # seconds for one request
RETRIES = 2  # of a request that failed fast; what takes longer is for the caller to try again

_STATUS = re.compile(r"status code: ([1-5][0-9]{2})\b")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_FAILURE = re.compile(r"HttpError \{\s+kind: (\w{1,32}),")


class ObjectStoreUnavailable(StoreUnavailable):
    """The bucket does not answer, refuses, or holds other bytes than it should."""


class BucketStore:
    """Files of a bucket, each also in `cache` once it was needed here. Everything blocks: call it from a thread.

    Without an answer within `patience` seconds, or with another than it should be, calls raise
    `ObjectStoreUnavailable`; where the cache's disk cannot be written, `StoreUnavailable`.
    """

    def __init__(self, bucket: Bucket, cache: ModelStore, *, patience: float = PATIENCE) -> None:
        self._place = f"s3://{bucket.name}/{bucket.prefix}".rstrip("/")
        self._cache = cache
        self._objects = S3Store(
            bucket.name,
            prefix=bucket.prefix or None,
            config={
                **({} if bucket.endpoint is None else {"endpoint": bucket.endpoint}),
                **({} if bucket.region is None else {"region": bucket.region}),
            },
            client_options={
                "allow_http": True,  # only an endpoint that says http:// is spoken to in it
                "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, patience)),
                "timeout": timedelta(seconds=patience),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=patience / 2)},
        )

    def write(self, chunks: Iterable[bytes | memoryview]) -> StoredFile:
        """Store the concatenation of `chunks`; it is stored once the bucket has it."""
        stored = self._cache.write(chunks)
        with self._asking():
            obstore.put(
                self._objects,
                stored.sha256,
                self._cache.path(stored.sha256),
                chunk_size=PART,
                max_concurrency=UPLOADS,
            )
        return stored

    def path(self, sha256: str) -> Path:
        """Where a file lies on this machine; it is fetched if it does not. Raises `NotFound`."""
        return self._cache.path(self._fetched(sha256))

    def map(self, sha256: str) -> memoryview:
        """The bytes of a file, mapped and read-only; it is fetched if need be. Raises `NotFound`."""
        return self._cache.map(self._fetched(sha256))

    def remove(self, sha256: str) -> None:
        """Remove an object, if it is there, and this machine's copy. Other machines' are theirs to remove."""
        if SHA256.fullmatch(sha256):
            with self._asking():
                obstore.delete(self._objects, sha256)
            self._cache.remove(sha256)

    def sweep(self, seconds: float) -> int:
        """Remove files that were not fetched, or written, to their end for `seconds`; tells how many."""
        return self._cache.sweep(seconds)

    def _fetched(self, sha256: str) -> str:
        if SHA256.fullmatch(sha256) and not self._cache.has(sha256):
            self._cache.write(self._parts(sha256))
        return sha256

    def _parts(self, sha256: str) -> Iterator[memoryview]:
        """The bytes of an object, a part at a time; ends with an error if they are not what its name says."""
        digest = hashlib.sha256()
        with self._asking(sha256):
            answer = obstore.get(self._objects, sha256)
            size = answer.meta["size"]
        for start in range(0, size, PART):
            with self._asking(sha256):
                if size <= PART:
                    part = memoryview(answer.bytes())
                else:
                    part = memoryview(
                        obstore.get_range(self._objects, sha256, start=start, end=min(start + PART, size))
                    )
            digest.update(part)
            yield part
        if digest.hexdigest() != sha256:
            raise ObjectStoreUnavailable(f"{self._place}: the object {sha256} holds other bytes than were stored")

    @contextlib.contextmanager
    def _asking(self, sha256: str | None = None) -> Iterator[None]:
        """Errors of the store without its words. Only its own word for it makes an object (`sha256`) one not there."""
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            reason = _reason(error)
            if sha256 is not None and reason == "404 NoSuchKey":
                raise NotFound("model file", sha256) from None
            raise ObjectStoreUnavailable(f"{self._place}: {reason}") from None


def _reason(error: Exception) -> str:
    """What a store answered, as status and code, or how it did not."""
    text = str(error)
    said = [match[1] for pattern in (_STATUS, _CODE) if (match := pattern.search(text))]
    if said:
        return " ".join(said)
    failure = _FAILURE.search(text)
    return f"no answer ({type(error).__name__ if failure is None else failure[1]})"
