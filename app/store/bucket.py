"""Parameters as objects of an S3-compatible bucket, behind a directory of the files that this machine has read or made.

An object's name is the SHA-256 of its bytes, so a reader can check the content, and storing the same parameters twice
is harmless. obstore finds the credentials in the environment (``AWS_…``). An answer of the store may repeat a part of
them, so errors contain only its status and its code.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from app.buckets import Bucket
from app.domain.errors import NotFound
from app.store.model_store import SHA256, ModelStore, StoredFile, StoreUnavailable

PART = 8 << 20  # bytes in one request, or in each of several; S3 takes no fewer than 5 MiB, nor more than 10 000 parts
UPLOADS = 2  # parts of one model that are transferred at the same time
CONNECT_SECONDS = 5.0
PATIENCE = 30.0  # seconds for one request
RETRIES = 2  # of a request that failed fast; the caller repeats requests that take longer

log = structlog.get_logger(__name__)

_MISSING = frozenset({"404 NoSuchKey"})
_STATUS = re.compile(r"status code: ([1-5][0-9]{2})\b")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_FAILURE = re.compile(r"HttpError \{\s+kind: (\w{1,32}),")


class ObjectStoreUnavailable(StoreUnavailable):
    """The bucket does not answer, refuses a request, or contains wrong bytes."""


def objects_of(bucket: Bucket, patience: float = PATIENCE) -> S3Store:
    """Make the client of a bucket, which waits for `patience` seconds for the answer to one request."""
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config={
            **({} if bucket.endpoint is None else {"endpoint": bucket.endpoint}),
            **({} if bucket.region is None else {"region": bucket.region}),
        },
        client_options={
            "allow_http": True,  # plain HTTP is used only for an endpoint with http://
            "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, patience)),
            "timeout": timedelta(seconds=patience),
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=patience / 2)},
    )


class Sweeps(Protocol):
    """Something else in the bucket that has to be swept."""

    def sweep(self, seconds: float) -> int:
        """Remove what has been left for `seconds`. Returns how many."""


class BucketStore:
    """The files of a bucket, with a local copy in `cache` of each that was needed. All calls block: use a thread.

    Calls raise `ObjectStoreUnavailable` if there is no answer within `patience` seconds or the answer is wrong, and
    `StoreUnavailable` if the disk of the cache cannot be written. With it, `uploads` are swept.
    """

    def __init__(
        self, bucket: Bucket, cache: ModelStore, *, patience: float = PATIENCE, uploads: Sweeps | None = None
    ) -> None:
        self._place = f"s3://{bucket.name}/{bucket.prefix}".rstrip("/")
        self._cache = cache
        self._uploads = uploads
        self._objects = objects_of(bucket, patience)

    def write(self, chunks: Iterable[bytes | memoryview]) -> StoredFile:
        """Store the concatenation of `chunks`; it is stored once the bucket has it."""
        stored = self._cache.write(chunks)
        with asking(self._place):
            obstore.put(
                self._objects,
                stored.sha256,
                self._cache.path(stored.sha256),
                chunk_size=PART,
                max_concurrency=UPLOADS,
            )
        return stored

    def path(self, sha256: str) -> Path:
        """Return the path of a file on this machine, and fetch it first if necessary. Raises `NotFound`."""
        return self._cache.path(self._fetched(sha256))

    def map(self, sha256: str) -> memoryview:
        """Map the bytes of a file, read-only, and fetch it first if necessary. Raises `NotFound`."""
        return self._cache.map(self._fetched(sha256))

    def remove(self, sha256: str) -> None:
        """Remove an object, if it exists, and the copy on this machine. Other machines remove their own copies."""
        if SHA256.fullmatch(sha256):
            with asking(self._place):
                obstore.delete(self._objects, sha256)
            self._cache.remove(sha256)

    def sweep(self, seconds: float) -> int:
        """Remove files whose transfer or writing has been unfinished for `seconds`. Returns how many."""
        swept = self._cache.sweep(seconds)
        if self._uploads is not None:
            try:
                swept += self._uploads.sweep(seconds)
            except ObjectStoreUnavailable as error:  # other things can be kept in order meanwhile
                log.warning("uploads could not be swept", reason=str(error))
        return swept

    def _fetched(self, sha256: str) -> str:
        if SHA256.fullmatch(sha256) and not self._cache.has(sha256):
            self._cache.write(self._parts(sha256))
        return sha256

    def _parts(self, sha256: str) -> Iterator[memoryview]:
        """Yield the bytes of an object in parts.

        Raises an error at the end if their SHA-256 is not the object's name.
        """
        digest = hashlib.sha256()
        with asking(self._place, ("model file", sha256)):
            answer = obstore.get(self._objects, sha256)
            size = answer.meta["size"]
        for start in range(0, size, PART):
            with asking(self._place, ("model file", sha256)):
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
def asking(place: str, what: tuple[str, str] | None = None) -> Iterator[None]:
    """Turn errors of the store at a `place` into ours, without its text.

    `what` is asked for, the kind of thing and its name: it is missing only if the store says so.
    """
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        reason = _reason(error)
        if what is not None and reason in _MISSING:
            raise NotFound(*what) from None
        raise ObjectStoreUnavailable(f"{place}: {reason}") from None


def _reason(error: Exception) -> str:
    """Describe the answer of a store by status and code, or why there was none."""
    text = str(error)
    said = [match[1] for pattern in (_STATUS, _CODE) if (match := pattern.search(text))]
    if said:
        return " ".join(said)
    failure = _FAILURE.search(text)
    return f"no answer ({type(error).__name__ if failure is None else failure[1]})"
