"""Parameters as content-addressed files in a directory: write to a temporary name, sync, rename.

A file's name is the SHA-256 of its bytes, so writing the same parameters twice is harmless. A file that exists is
complete: a crash leaves at most a temporary file.
"""

import contextlib
import hashlib
import mmap
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from app.domain.errors import NotFound
from app.store.spares import SpareFiles
from app.threads import in_thread_to_its_end
from tcsfeel import private
from tcsfeel.errors import Picklable

BLOCK = 1 << 20  # bytes written at a time
SHA256 = re.compile(r"[0-9a-f]{64}")

_UNFINISHED = ".part"

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The name (SHA-256) and the size (bytes) of a file of the store."""

    sha256: str
    size: int


class StoreUnavailable(OSError):
    """The files cannot be stored at the moment: the disk is full, read-only, or broken."""


class FileTooLarge(Picklable):
    """More bytes arrived than are allowed. The bytes that were written have been removed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class ModelFiles(Protocol):
    """The interface of a store of model files. All calls block: call them from a thread."""

    def write(self, chunks: Iterable[bytes | memoryview]) -> StoredFile:
        """Store the concatenation of `chunks`, even if it is stored already. Raises `StoreUnavailable`."""

    def path(self, sha256: str) -> Path:
        """Return the path of a file on this machine. Raises `NotFound`, `StoreUnavailable`."""

    def map(self, sha256: str) -> memoryview:
        """Map the bytes of a file, read-only. Raises `NotFound`, `StoreUnavailable`."""

    def remove(self, sha256: str) -> None:
        """Remove a file, if it is there; a process that has mapped or opened it keeps it. See `app.store.removals`.

        Raises `StoreUnavailable`.
        """

    def sweep(self, seconds: float) -> int:
        """Remove unfinished files to which nothing was written for `seconds`. Returns how many."""


class ModelStore:
    """A directory of files. What is not a coroutine blocks on the disk: call it from a thread.

    What writes raises `StoreUnavailable` where the disk does. A store that is not `durable` skips the syncs: its files
    outlive the process, not a loss of power. The names of its files begin with `prefix`. Streams of known size are
    written into one of the `spares`, if one fits.
    """

    def __init__(
        self, directory: Path, *, durable: bool = True, prefix: str = "", spares: SpareFiles | None = None
    ) -> None:
        self._directory = directory
        self._durable = durable
        self._prefix = prefix
        self._spares = spares

    async def receive(
        self, chunks: AsyncIterable[bytes | memoryview], limit: int, *, size: int | None = None
    ) -> StoredFile:
        """Store a stream of at most `limit` bytes; memory stays at about `BLOCK`.

        A view is written before the next chunk is asked for, which may take its place. If the `size` of the stream is
        known, no chunk is asked for after it. Raises `FileTooLarge`.
        """
        if size is not None and size > limit:
            raise FileTooLarge(limit)
        pieces: list[bytes | memoryview] = []
        held = received = 0
        writer = self._writer(size)
        try:
            async for chunk in chunks:
                received += len(chunk)
                if received > limit:
                    raise FileTooLarge(limit)
                pieces.append(chunk)
                held += len(chunk)
                if received == size:
                    break
                if held >= BLOCK or isinstance(chunk, memoryview):
                    full, pieces, held = pieces, [], 0
                    await _in_thread(writer.write, full)
            return await _in_thread(writer.finish, pieces)
        finally:
            if writer.is_open:
                await _in_thread(writer.discard)

    def write(self, chunks: Iterable[bytes | memoryview]) -> StoredFile:
        """Store the concatenation of `chunks`."""
        writer = self._writer()
        try:
            return writer.finish(chunks)
        finally:
            writer.discard()

    def within(self, name: str) -> "ModelStore":
        """Return a store in a subdirectory of this one."""
        return ModelStore(self._directory / name, durable=self._durable)

    def has(self, sha256: str) -> bool:
        return self._named(sha256).is_file()

    def path(self, sha256: str) -> Path:
        """Return the path of a file. Raises `NotFound`."""
        path = self._named(sha256)
        if not SHA256.fullmatch(sha256) or not self.has(sha256):
            raise NotFound("model file", sha256)
        return path

    def map(self, sha256: str) -> memoryview:
        """Map the bytes of a file, read-only. Raises `NotFound`."""
        with self.path(sha256).open("rb", buffering=0) as file:
            if not os.fstat(file.fileno()).st_size:  # which cannot be mapped
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def names(self) -> list[str]:
        """Return the names of the files in the store."""
        found = [path.name.removeprefix(self._prefix) for path in self._directory.glob(f"{self._prefix}*")]
        return [name for name in found if SHA256.fullmatch(name)]

    def remove(self, sha256: str) -> None:
        """Remove a file, if it is there; a process that has mapped or opened it keeps it."""
        if SHA256.fullmatch(sha256):
            with _disk():
                self._named(sha256).unlink(missing_ok=True)

    def sweep(self, seconds: float) -> int:
        """Remove unfinished files to which nothing was written for `seconds`. Returns how many."""
        old = [path for path in self._directory.glob(f".*{_UNFINISHED}") if _idle(path) > seconds]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def idle(self) -> float:
        """Return how many seconds ago something in the directory was changed."""
        return min(map(_idle, [self._directory, *self._directory.glob("*")]))

    def clear(self) -> None:
        """Remove the directory and everything in it."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _named(self, sha256: str) -> Path:
        return self._directory / f"{self._prefix}{sha256}"

    def _writer(self, size: int | None = None) -> "_Writer":
        spares = None if size is None else self._spares
        return _Writer(self._named, self._directory, durable=self._durable, spares=spares, size=size or 0)


def remove_if_empty(directory: Path) -> None:
    """Remove a directory if nothing is in it. A thread that is about to write into it makes it again."""
    with contextlib.suppress(OSError):
        directory.rmdir()


def give_back(*maps: memoryview) -> None:
    """Free the memory behind a result of `ModelStore.map`. Bytes that are read again are loaded from the file again."""
    for mapped in maps:
        if isinstance(mapped.obj, mmap.mmap):
            mapped.obj.madvise(mmap.MADV_DONTNEED)


class _Writer:
    """A file that is being written. The first write opens it: one of `spares` that fits, or a new one."""

    def __init__(
        self, named: Callable[[str], Path], directory: Path, *, durable: bool, spares: SpareFiles | None, size: int
    ) -> None:
        self._named = named
        self._directory = directory
        self._durable = durable
        self._spares = spares
        self._expected = size
        self._temporary = directory / f".{secrets.token_hex(8)}{_UNFINISHED}"
        self._file: FileIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    @property
    def is_open(self) -> bool:
        """Whether there is something to discard."""
        return self._file is not None

    def write(self, chunks: Iterable[bytes | memoryview]) -> FileIO:
        with _disk():
            if self._file is None:
                private.make_directory(self._directory)
                self._file = self._opened()
        for chunk in chunks:  # the source of the bytes may fail in its own way
            self._digest.update(chunk)
            left = memoryview(chunk)
            with _disk():
                while left:
                    left = left[self._file.write(left) :]
            self._size += len(chunk)
        return self._file

    def _opened(self) -> FileIO:
        spare = None if self._spares is None else self._spares.take(self._expected)
        if spare is not None:
            with contextlib.suppress(OSError):  # it has been removed
                file = FileIO(spare, "r+b")
                self._temporary = spare
                return file
        return FileIO(self._temporary, "xb", opener=private.opener)

    def finish(self, chunks: Iterable[bytes | memoryview] = ()) -> StoredFile:
        """Write the last bytes and give the file its name."""
        file = self.write(chunks)
        with _disk():
            if self._spares is not None:  # the spare file may have been longer
                file.truncate()
            if self._durable:
                os.fsync(file.fileno())
            file.close()
            stored = StoredFile(self._digest.hexdigest(), self._size)
            self._temporary.replace(self._named(stored.sha256))
        self._file = None
        if self._durable:
            _sync(self._directory)
        return stored

    def discard(self) -> None:
        """Remove the file if it was not finished."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # some file systems report only now that the disk is full
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)
        self._file = None


def _idle(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # finished, or discarded, just now
        return 0.0


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(error.errno, error.strerror, error.filename) from error


async def _in_thread(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Run in a thread. A cancelled caller leaves only when the thread has: two threads must not share one file."""
    return await in_thread_to_its_end("files", function, *args, **kwargs)


def _sync(directory: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems do not sync directories
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
