"""A spool: the answers of agents until a round has ended. Small ones are kept in memory, and others in files.

A file of a kilobyte costs a thread and a dozen calls of the system, which is more than its exchange with the agent. A
spool only saves time, because agents keep their answers too. So it may lose them with the process.
"""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from threading import Lock

from app.store.model_store import FileTooLarge, ModelStore, StoredFile
from app.store.spares import SpareFiles

SMALL_BYTES = 1 << 16
"""The size of a file up to which it is kept in memory, hashed and checked without a thread: some 0.5 ms."""
HELD_BYTES = 1 << 25  # in memory, of all spools of a process

_WITHIN = "of."

_Key = tuple[str, str]  # the name of the place within the spool, and the SHA-256


class SpooledFiles:
    """The files of all spools, by the directory of the spool, and the small ones themselves. Threads may use it.

    The small files have `most` bytes together. It knows the files on disk that this process has stored, so that nothing
    looks for them in large directories.
    """

    def __init__(self, most: int = HELD_BYTES) -> None:
        self.spares = SpareFiles()
        self.most = most
        self._room = most
        self._lock = Lock()
        self._of: dict[Path, dict[_Key, bytes | None]] = {}  # None for a file on disk

    @property
    def held(self) -> int:
        """How many bytes are in memory, of `most`."""
        return self.most - self._room

    def spools(self) -> list[Path]:
        """Return the directories of the spools that have files."""
        with self._lock:
            return list(self._of)

    def add(self, spool: Path, key: _Key, data: bytes) -> bool:
        """Keep a small file, unless there is no room for it. Returns whether it is kept."""
        with self._lock:
            files = self._of.setdefault(spool, {})
            room = self._room + len(files.get(key) or b"")
            if len(data) > room:
                if not files:
                    del self._of[spool]
                return False
            self._room = room - len(data)
            files[key] = data
            return True

    def note(self, spool: Path, key: _Key) -> None:
        """Note that a file is on disk."""
        with self._lock:
            self._of.setdefault(spool, {}).setdefault(key, None)

    def knows(self, spool: Path, key: _Key) -> bool:
        """Tell whether this process has stored a file, or has read it."""
        return key in self._of.get(spool, {})

    def names(self, spool: Path, place: str) -> list[str]:
        """Return the SHA-256 of each file in a place of a spool."""
        with self._lock:
            return [key[1] for key in self._of.get(spool, {}) if key[0] == place]

    def get(self, spool: Path, key: _Key) -> bytes | None:
        """Return a small file."""
        return self._of.get(spool, {}).get(key)

    def remove(self, spool: Path, *, place: str | None = None, sha256: str | None = None) -> list[str]:
        """Forget the files of a spool, or of one place in it, or one in that. Returns the SHA-256 of those on disk."""
        with self._lock:
            files = self._of.get(spool, {})
            if place is not None and sha256 is not None:
                gone = [key for key in [(place, sha256)] if key in files]
            else:
                gone = [key for key in files if place is None or key[0] == place]
            held = [files.pop(key) for key in gone]
            self._room += sum(len(data) for data in held if data is not None)
            if not files:
                self._of.pop(spool, None)
            return [key[1] for key, data in zip(gone, held, strict=True) if data is None]


class Spool(ModelStore):
    """The spool of a round, or a `place` in it. Its files outlive the process only if they are not small."""

    def __init__(self, directory: Path, files: SpooledFiles, *, place: str = "") -> None:
        self._spool = directory
        self._files = files
        self._place = place
        # The names of files in a place begin with the place, and those of the spool's own files are only a SHA-256.
        prefix = f"{_WITHIN}{place}." if place else ""
        super().__init__(directory, durable=False, prefix=prefix, spares=files.spares)

    async def receive(
        self, chunks: AsyncIterable[bytes | memoryview], limit: int, *, size: int | None = None
    ) -> StoredFile:
        """Keep a stream of at most `limit` bytes, in memory if it is small. Raises `FileTooLarge`."""
        if size is not None and size > min(limit, SMALL_BYTES):
            return self._noted(await super().receive(chunks, limit, size=size))
        body, coming = bytearray(), aiter(chunks)
        async for chunk in coming:
            body += chunk
            if len(body) > limit:
                raise FileTooLarge(limit)
            if len(body) == size:
                break
            if len(body) > SMALL_BYTES:
                return self._noted(await super().receive(_joined(body, coming), limit, size=size))
        return self._kept(bytes(body)) or self._noted(await super().receive(_joined(body), limit, size=len(body)))

    def write(self, chunks: Iterable[bytes | memoryview]) -> StoredFile:
        """Keep the concatenation of `chunks`, in memory if it is small."""
        coming, held, size = iter(chunks), list[bytes](), 0
        for chunk in coming:
            size += len(chunk)
            if size > SMALL_BYTES:
                return self._noted(super().write(chain(held, [chunk], coming)))  # a chunk may have some gigabytes
            held.append(bytes(chunk))
        return self._kept(b"".join(held)) or self._noted(super().write(held))

    def within(self, name: str) -> "Spool":
        """Return a place for the files of one client."""
        return Spool(self._spool, self._files, place=name)

    def holds(self, sha256: str) -> bool:
        """Tell whether a file is in memory, so that it can be read on the event loop."""
        return self._held(sha256) is not None

    def has(self, sha256: str) -> bool:
        """Tell whether a file is there.

        A file that another process has stored is read first. After a loss of power it may hold something else, because
        spools are not synced. Then it is removed.
        """
        if self._files.knows(self._spool, (self._place, sha256)):
            return True
        if not super().has(sha256):
            return False
        with self._named(sha256).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                self._files.note(self._spool, (self._place, sha256))
                return True
        super().remove(sha256)
        return False

    def map(self, sha256: str) -> memoryview:
        """Return the bytes of a file, read-only. Raises `NotFound`."""
        data = self._held(sha256)
        return super().map(sha256) if data is None else memoryview(data)

    def names(self) -> list[str]:
        """Return the names of the files in it, or in this place."""
        return sorted({*self._files.names(self._spool, self._place), *super().names()})

    def remove(self, sha256: str) -> None:
        """Remove a file, if it is there; its bytes can still be read where they are used."""
        is_small = self.holds(sha256)
        self._files.remove(self._spool, place=self._place, sha256=sha256)
        if not is_small:
            super().remove(sha256)

    def clear(self) -> None:
        """Remove everything in it, or what this process has stored in this place."""
        if not self._place:
            self._files.remove(self._spool)
            super().clear()
            return
        for sha256 in self._files.remove(self._spool, place=self._place):
            super().remove(sha256)

    def recycle(self, into: Path) -> None:
        """Remove everything in it. The files of clients are kept in the directory `into`, to be written again."""
        with suppress(OSError):  # what cannot be kept is removed
            for path in self._spool.glob(f"{_WITHIN}*"):
                self._files.spares.give(path, into)
        self.clear()

    def _noted(self, stored: StoredFile) -> StoredFile:
        self._files.note(self._spool, (self._place, stored.sha256))
        return stored

    def _kept(self, data: bytes) -> StoredFile | None:
        """Keep a file in memory. None if there is no room for it."""
        stored = StoredFile(hashlib.sha256(data).hexdigest(), len(data))
        return stored if self._files.add(self._spool, (self._place, stored.sha256), data) else None

    def _held(self, sha256: str) -> bytes | None:
        return self._files.get(self._spool, (self._place, sha256))


async def _joined(
    beginning: bytearray, coming: AsyncIterable[bytes | memoryview] | None = None
) -> AsyncIterator[bytes | memoryview]:
    yield memoryview(beginning)
    if coming is not None:
        async for chunk in coming:
            yield chunk
