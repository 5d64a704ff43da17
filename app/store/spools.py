"""A spool: the answers of agents until a round has ended. Small ones are kept in memory, and others in files.

A file of a kilobyte costs a directory, a thread and a dozen calls of the system, which is more than its exchange with
the agent. A spool only saves time, because agents keep their answers too. So it may lose them with the process.
"""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import chain
from pathlib import Path
from threading import Lock

from app.store.model_store import FileTooLarge, ModelStore, StoredFile, place_within

SMALL_BYTES = 1 << 16
"""The size of a file up to which it is kept in memory, hashed and checked without a thread: some 0.5 ms."""
HELD_BYTES = 1 << 25  # in memory, of all spools of a process

_Key = tuple[str, str]  # the name of the place within the spool, and the SHA-256


class SmallFiles:
    """The small files of all spools, by the directory of the spool: `most` bytes together. Threads may use it."""

    def __init__(self, most: int = HELD_BYTES) -> None:
        self.most = most
        self._room = most
        self._lock = Lock()
        self._of: dict[Path, dict[_Key, bytes]] = {}

    @property
    def held(self) -> int:
        """How many bytes are in memory, of `most`."""
        return self.most - self._room

    def spools(self) -> list[Path]:
        """Return the directories of the spools that have small files."""
        with self._lock:
            return list(self._of)

    def add(self, spool: Path, key: _Key, data: bytes) -> bool:
        """Keep a file, unless there is no room for it. Returns whether it is kept."""
        with self._lock:
            if len(data) > self._room:
                return False
            files = self._of.setdefault(spool, {})
            self._room += len(files.get(key, b"")) - len(data)
            files[key] = data
            return True

    def get(self, spool: Path, key: _Key) -> bytes | None:
        return self._of.get(spool, {}).get(key)

    def names(self, spool: Path, place: str) -> list[str]:
        """Return the SHA-256 of each file in a place of a spool."""
        with self._lock:
            return [key[1] for key in self._of.get(spool, {}) if key[0] == place]

    def remove(self, spool: Path, *, place: str | None = None, sha256: str | None = None) -> bool:
        """Remove the files of a spool, or of one place in it, or one of them. Returns whether there were any."""
        with self._lock:
            files = self._of.get(spool, {})
            gone = [key for key in files if (place is None or key[0] == place) and sha256 in {None, key[1]}]
            self._room += sum(len(files.pop(key)) for key in gone)
            if not files:
                self._of.pop(spool, None)
            return bool(gone)


class Spool(ModelStore):
    """The spool of a round, or a `place` in it. Its files outlive the process only if they are not small."""

    def __init__(self, directory: Path, small: SmallFiles, *, place: str = "") -> None:
        self._spool = directory
        self._small = small
        self._place = place
        super().__init__(place_within(directory, place) if place else directory, durable=False)

    async def receive(
        self, chunks: AsyncIterable[bytes | memoryview], limit: int, *, size: int | None = None
    ) -> StoredFile:
        """Keep a stream of at most `limit` bytes, in memory if it is small. Raises `FileTooLarge`."""
        if size is not None and size > min(limit, SMALL_BYTES):
            return await super().receive(chunks, limit, size=size)
        body, coming = bytearray(), aiter(chunks)
        async for chunk in coming:
            body += chunk
            if len(body) > limit:
                raise FileTooLarge(limit)
            if len(body) == size:
                break
            if len(body) > SMALL_BYTES:
                return await super().receive(_joined(body, coming), limit, size=size)
        return self._kept(bytes(body)) or await super().receive(_joined(body), limit, size=len(body))

    def write(self, chunks: Iterable[bytes | memoryview]) -> StoredFile:
        """Keep the concatenation of `chunks`, in memory if it is small."""
        coming, held, size = iter(chunks), list[bytes](), 0
        for chunk in coming:
            size += len(chunk)
            if size > SMALL_BYTES:
                return super().write(chain(held, [chunk], coming))  # the chunk may be a tensor of some gigabytes
            held.append(bytes(chunk))
        return self._kept(b"".join(held)) or super().write(held)

    def within(self, name: str) -> "Spool":
        """Return a place for the files of one client."""
        return Spool(self._spool, self._small, place=name)

    def holds(self, sha256: str) -> bool:
        """Tell whether a file is in memory, so that it can be read on the event loop."""
        return self._held(sha256) is not None

    def has(self, sha256: str) -> bool:
        return self.holds(sha256) or super().has(sha256)

    def map(self, sha256: str) -> memoryview:
        """Return the bytes of a file, read-only. Raises `NotFound`."""
        data = self._held(sha256)
        return super().map(sha256) if data is None else memoryview(data)

    def names(self) -> list[str]:
        """Return the names of the files in it, or in this place."""
        return [*self._small.names(self._spool, self._place), *super().names()]

    def remove(self, sha256: str) -> None:
        """Remove a file, if it is there; its bytes can still be read where they are used."""
        if not self._small.remove(self._spool, place=self._place, sha256=sha256):
            super().remove(sha256)

    def clear(self) -> None:
        """Remove everything in it."""
        self._small.remove(self._spool, place=self._place or None)
        super().clear()

    def _kept(self, data: bytes) -> StoredFile | None:
        """Keep a file in memory. None if there is no room for it."""
        stored = StoredFile(hashlib.sha256(data).hexdigest(), len(data))
        return stored if self._small.add(self._spool, (self._place, stored.sha256), data) else None

    def _held(self, sha256: str) -> bytes | None:
        return self._small.get(self._spool, (self._place, sha256))


async def _joined(
    beginning: bytearray, coming: AsyncIterable[bytes | memoryview] | None = None
) -> AsyncIterator[bytes | memoryview]:
    yield memoryview(beginning)
    if coming is not None:
        async for chunk in coming:
            yield chunk
