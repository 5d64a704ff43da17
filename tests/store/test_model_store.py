"""Parameters as files named by their content."""

import asyncio
import hashlib
import mmap
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import NotFound
from app.store.model_store import BLOCK, FileTooLarge, ModelStore, StoredFile

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture(params=[True, False], ids=["durable", "spool"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "deep" / "models", durable=request.param)


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "deep" / "models").glob("*"))


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_file_is_named_by_the_hash_of_its_bytes(store: ModelStore, tmp_path: Path) -> None:
    assert store.write([b"hel", memoryview(b"lo")]) == StoredFile(HELLO, 5)
    assert await store.receive(stream(b"h", b"", b"ello"), limit=5) == StoredFile(HELLO, 5)  # the same file twice
    assert files(tmp_path) == [HELLO]
    assert store.path(HELLO).read_bytes() == b"hello"


async def test_a_stream_longer_than_a_block_is_stored_whole(store: ModelStore, tmp_path: Path) -> None:
    chunks = [bytes([number]) * (BLOCK // 3 + 1) for number in range(8)]
    whole = b"".join(chunks)
    stored = await store.receive(stream(*chunks), limit=len(whole))
    assert stored == StoredFile(hashlib.sha256(whole).hexdigest(), len(whole))
    assert store.path(stored.sha256).read_bytes() == whole
    assert files(tmp_path) == [stored.sha256]


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"x" * 10, b"x"]])
async def test_more_bytes_than_allowed_leave_nothing(
    store: ModelStore, tmp_path: Path, chunks: Iterable[bytes]
) -> None:
    with pytest.raises(FileTooLarge) as caught:
        await store.receive(stream(*chunks), limit=10)
    assert caught.value.limit == 10
    assert files(tmp_path) == []


async def test_a_stream_that_grows_too_long_on_the_disk_leaves_nothing(store: ModelStore, tmp_path: Path) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += BLOCK
            yield bytes(BLOCK)

    with pytest.raises(FileTooLarge):
        await store.receive(endless(), limit=3 * BLOCK)
    assert taken == 4 * BLOCK  # it is not read on
    assert files(tmp_path) == []


async def test_memory_does_not_grow_with_the_stream(store: ModelStore) -> None:
    async def long() -> AsyncIterator[bytes]:
        for _ in range(48 * 16):
            yield bytes(BLOCK // 16)

    tracemalloc.start()
    try:
        stored = await store.receive(long(), limit=64 * BLOCK)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stored.size == 48 * BLOCK
    assert peak < 6 * BLOCK


async def test_a_stream_that_breaks_leaves_nothing(store: ModelStore, tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(2 * BLOCK)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.receive(breaking(), limit=10 * BLOCK)
    assert files(tmp_path) == []


@pytest.mark.parametrize("moments", range(12))
async def test_a_stream_that_is_called_off_at_any_moment_leaves_no_half_a_file(
    store: ModelStore, tmp_path: Path, moments: int
) -> None:
    whole = bytes(2 * BLOCK + 1)
    task = asyncio.create_task(store.receive(stream(whole[:BLOCK], whole[BLOCK:]), limit=len(whole)))
    for _ in range(moments):
        await asyncio.sleep(0.0005 if moments % 2 else 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert files(tmp_path) in ([], [hashlib.sha256(whole).hexdigest()])


def test_a_source_that_raises_leaves_nothing(store: ModelStore, tmp_path: Path) -> None:
    def failing() -> Iterable[bytes]:
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(failing())
    assert files(tmp_path) == []


def test_a_source_that_breaks_in_its_own_way_is_not_taken_for_the_disk(store: ModelStore) -> None:
    def source() -> Iterator[bytes]:
        yield b"x"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.write(source())


def test_a_crash_leaves_a_temporary_file_and_nothing_that_looks_whole(store: ModelStore, tmp_path: Path) -> None:
    def killed() -> Iterable[bytes]:
        yield b"hello"
        (left,) = files(tmp_path)  # what is there if the process ends here
        assert left.startswith(".")
        assert left.endswith(".part")
        with pytest.raises(NotFound):
            store.path(left)
        with pytest.raises(NotFound):
            store.path(HELLO)

    assert store.write(killed()).sha256 == HELLO


def test_a_disk_that_is_full_is_told_and_leaves_nothing(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "models").write_text("a file where the directory should be")
    with pytest.raises(OSError, match="Not a directory"):
        store.write([b"x"])


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../secret", "/etc/passwd", "a/b", HELLO.upper(), HELLO[:-1], HELLO + "0", HELLO + "\n", "\0",
        "." + HELLO, "0" * 64,
    ],
)  # fmt: skip
def test_a_name_that_is_not_the_hash_of_a_file_here_is_not_found(store: ModelStore, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    store.write([b"hello"])
    with pytest.raises(NotFound):
        store.path(name)
    with pytest.raises(NotFound):
        store.map(name)


def test_a_file_is_mapped_read_only(store: ModelStore) -> None:
    view = store.map(store.write([b"hello"]).sha256)
    assert bytes(view) == b"hello"
    assert view.readonly
    assert isinstance(view.obj, mmap.mmap)


async def test_an_empty_file_is_a_file_too(store: ModelStore) -> None:
    empty = await store.receive(stream(), limit=0)
    assert empty == store.write([]) == StoredFile(hashlib.sha256(b"").hexdigest(), 0)
    assert bytes(store.map(empty.sha256)) == b""


def test_what_is_mapped_outlives_the_store(store: ModelStore, tmp_path: Path) -> None:
    view = store.map(store.write([b"hello"]).sha256)
    store.clear()
    assert not (tmp_path / "deep" / "models").exists()
    store.clear()  # nothing to clear is not an error
    assert bytes(view) == b"hello"


async def test_no_chunk_is_asked_for_after_the_last_byte_of_a_known_size(store: ModelStore) -> None:
    async def never_ending() -> AsyncIterator[bytes]:
        yield b"hel"
        yield b"lo"
        raise AssertionError("a third chunk was asked for")

    assert await store.receive(never_ending(), limit=5, size=5) == StoredFile(HELLO, 5)


async def test_a_stream_that_is_known_to_be_too_long_is_not_begun(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(FileTooLarge):
        await store.receive(stream(b"hello"), limit=4, size=5)
    assert files(tmp_path) == []


async def test_a_view_is_written_before_the_next_one_takes_its_place(store: ModelStore) -> None:
    async def one_after_the_other() -> AsyncIterator[memoryview]:
        buffer = memoryview(bytearray(3))
        for piece in (b"hel", b"lo"):
            buffer[: len(piece)] = piece
            yield buffer[: len(piece)]

    assert await store.receive(one_after_the_other(), limit=5) == StoredFile(HELLO, 5)


async def test_the_event_loop_itself_opens_no_file(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bool] = []
    really, loop_thread = os.open, threading.get_ident()

    def opening(*args: Any, **kwargs: Any) -> int:
        opened.append(threading.get_ident() == loop_thread)
        return really(*args, **kwargs)

    monkeypatch.setattr(os, "open", opening)
    await store.receive(stream(b"hello"), limit=5, size=5)
    assert opened
    assert not any(opened), "a disk that stalls would hold up everything"
