"""A spool keeps small files in memory as long as there is room, and all others in its directory."""

import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.errors import NotFound
from app.store.model_store import FileTooLarge
from app.store.spools import SMALL_BYTES, Spool, SpooledFiles


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def files_below(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.is_file()]


def inode_of(directory: Path, pattern: str) -> int:
    """The number of the first file with such a name, which it keeps with another name."""
    return next(directory.rglob(pattern)).stat().st_ino


@pytest.fixture(name="small")
def small_files() -> SpooledFiles:
    return SpooledFiles(most=100)


@pytest.fixture(name="spool")
def spool_of_a_round(tmp_path: Path, small: SpooledFiles) -> Spool:
    return Spool(tmp_path / "t" / "1", small)


async def test_a_small_file_is_only_in_memory(spool: Spool, tmp_path: Path) -> None:
    place = spool.within("edge-1")
    stored = await place.receive(stream(b"two ", b"pieces"), 100, size=10)
    assert (stored.sha256, stored.size) == (hashlib.sha256(b"two pieces").hexdigest(), 10)
    assert bytes(place.map(stored.sha256)) == b"two pieces"
    assert place.map(stored.sha256).readonly
    assert place.has(stored.sha256)
    assert not spool.within("edge-2").has(stored.sha256), "each client has its own place"
    assert spool.within("edge-1").has(stored.sha256), "the place is the same, however often it is asked for"
    assert place.names() == [stored.sha256]
    assert spool.names() == spool.within("edge-2").names() == files_below(tmp_path) == []


@pytest.mark.parametrize("size", [101, None])
async def test_a_file_is_on_disk_if_there_is_no_room_in_memory(
    spool: Spool, small: SpooledFiles, tmp_path: Path, size: int | None
) -> None:
    stored = await spool.within("edge-1").receive(stream(b"x" * 101), 1000, size=size)
    assert bytes(spool.within("edge-1").map(stored.sha256)) == b"x" * 101
    assert files_below(tmp_path) == [f"of.edge-1.{stored.sha256}"]
    assert not spool.within("edge-1").holds(stored.sha256)
    assert spool.within("edge-1").names() == [stored.sha256]
    assert not spool.within("edge").has(stored.sha256)
    assert spool.names() == spool.within("edge").names() == []
    assert small.spools() == [tmp_path / "t" / "1"]


@pytest.mark.parametrize("known", [True, False])
async def test_a_file_that_is_not_small_is_on_disk(tmp_path: Path, known: bool) -> None:
    spool = Spool(tmp_path, SpooledFiles())
    data = bytes(SMALL_BYTES - 1) + b"and more"
    stored = await spool.receive(
        stream(data[:10], data[10:-3], data[-3:]), len(data), size=len(data) if known else None
    )
    assert stored == spool.write([data]), "what is written is treated in the same way"
    assert files_below(tmp_path) == [stored.sha256]
    assert bytes(spool.map(stored.sha256)) == data


def test_a_small_file_is_written_to_memory(spool: Spool, tmp_path: Path) -> None:
    stored = spool.write([b"two ", memoryview(b"pieces")])
    assert stored.sha256 == hashlib.sha256(b"two pieces").hexdigest()
    assert spool.holds(stored.sha256)
    assert files_below(tmp_path) == []


def test_what_is_not_small_is_written_without_a_copy_of_it(tmp_path: Path) -> None:
    large = memoryview(bytes(100 * SMALL_BYTES))
    spool = Spool(tmp_path, SpooledFiles())
    tracemalloc.start()
    try:
        stored = spool.write([b"header", large])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bytes(spool.map(stored.sha256)) == b"header" + large
    assert peak < len(large) / 2


@pytest.mark.parametrize("size", [3, 5, None])
async def test_a_stream_beyond_its_limit_is_refused(spool: Spool, size: int) -> None:
    with pytest.raises(FileTooLarge):
        await spool.receive(stream(b"12345"), 4, size=size)


async def test_what_is_removed_makes_room_and_can_be_read_where_it_is_used(spool: Spool, small: SpooledFiles) -> None:
    place = spool.within("edge-1")
    stored = await place.receive(stream(b"x" * 100), 100, size=100)
    used = place.map(stored.sha256)
    place.remove(stored.sha256)
    assert bytes(used) == b"x" * 100
    assert not place.has(stored.sha256)
    with pytest.raises(NotFound):
        place.map(stored.sha256)
    again = await spool.within("edge-2").receive(stream(b"y" * 100), 100, size=100)
    await spool.within("edge-2").receive(stream(b"y" * 100), 100, size=100)  # which takes no more room
    spool.within("edge-2").remove(again.sha256)
    assert small.add(Path("other"), ("", "z"), b"z" * 100)


async def test_clearing_a_place_or_the_spool_removes_files_in_memory_and_on_disk(
    spool: Spool, small: SpooledFiles, tmp_path: Path
) -> None:
    held = {name: await spool.within(name).receive(stream(b"12345"), 9, size=5) for name in ("a", "b")}
    on_disk = {name: await spool.within(name).receive(stream(b"d" * 101), 101) for name in ("a", "b")}
    other = await Spool(tmp_path / "t" / "2", small).receive(stream(b"12345"), 9, size=5)
    spool.within("a").clear()
    assert not spool.within("a").has(held["a"].sha256)
    assert not spool.within("a").has(on_disk["a"].sha256)
    assert spool.within("b").has(held["b"].sha256)
    assert spool.within("b").has(on_disk["b"].sha256)
    spool.clear()
    assert not spool.within("b").has(held["b"].sha256)
    assert not spool.within("b").has(on_disk["b"].sha256)
    assert Spool(tmp_path / "t" / "2", small).has(other.sha256)
    assert small.spools() == [tmp_path / "t" / "2"]


async def test_files_of_a_round_that_has_ended_are_written_again(
    spool: Spool, small: SpooledFiles, tmp_path: Path
) -> None:
    first = await spool.within("edge-1").receive(stream(b"x" * 5000), 5000, size=5000)
    inode = inode_of(tmp_path, "of.edge-1.*")
    spool.write([b"model" * 100])  # which tasks may still be sent from
    (tmp_path / "t" / "1" / ".unfinished.part").touch()  # of a thread that goes on writing
    spool.recycle(tmp_path / "spares")
    assert not spool.within("edge-1").has(first.sha256)
    assert not (tmp_path / "t" / "1").exists()
    assert len(list((tmp_path / "spares").iterdir())) == 1
    assert inode_of(tmp_path / "spares", "*") == inode
    assert small.spools() == []
    following = Spool(tmp_path / "t" / "2", small)
    content = b"y" * 4097
    second = await following.within("edge-2").receive(stream(content[:4000], content[4000:]), 5000, size=4097)
    assert second.sha256 == hashlib.sha256(content).hexdigest()
    assert bytes(following.within("edge-2").map(second.sha256)) == content
    assert inode_of(tmp_path, "of.edge-2.*") == inode
    assert list((tmp_path / "spares").iterdir()) == []


async def test_a_spare_file_of_another_length_in_pages_is_not_written(
    spool: Spool, small: SpooledFiles, tmp_path: Path
) -> None:
    await spool.within("edge-1").receive(stream(b"x" * 9000), 9000, size=9000)
    used = spool.within("edge-1").map(spool.within("edge-1").names()[0])
    spool.recycle(tmp_path / "spares")
    for size in (101, 4096, 8192, 12_289):
        await Spool(tmp_path / "t" / "2", small).receive(stream(b"y" * size), size, size=size)
    assert bytes(used) == b"x" * 9000
    assert len(list((tmp_path / "spares").iterdir())) == 1


async def test_a_stream_that_breaks_off_leaves_no_part_of_itself(
    spool: Spool, small: SpooledFiles, tmp_path: Path
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"y" * 3000
        raise ConnectionResetError

    size = SMALL_BYTES + 1
    await spool.within("edge-1").receive(stream(b"x" * size), size, size=size)
    spool.recycle(tmp_path / "spares")
    with pytest.raises(ConnectionResetError):
        await Spool(tmp_path / "t" / "2", small).within("edge-2").receive(_blocks(broken()), size, size=size)
    assert files_below(tmp_path) == []


async def test_a_spare_file_that_was_removed_is_not_missed(spool: Spool, small: SpooledFiles, tmp_path: Path) -> None:
    await spool.within("edge-1").receive(stream(b"x" * 5000), 5000, size=5000)
    spool.recycle(tmp_path / "spares")
    next((tmp_path / "spares").iterdir()).unlink()
    stored = await Spool(tmp_path / "t" / "2", small).receive(stream(b"y" * 5000), 5000, size=5000)
    assert bytes(Spool(tmp_path / "t" / "2", small).map(stored.sha256)) == b"y" * 5000


async def test_a_directory_that_cannot_hold_spare_files_does_not_keep_a_spool_from_being_emptied(
    spool: Spool, small: SpooledFiles, tmp_path: Path
) -> None:
    await spool.within("edge-1").receive(stream(b"x" * 5000), 5000, size=5000)
    (tmp_path / "spares").write_text("in the way of the directory")
    spool.recycle(tmp_path / "spares")
    assert not (tmp_path / "t" / "1").exists()
    assert small.spools() == []


@pytest.mark.parametrize("content", [b"x" * 5000, b"y" * 5000, b"\0" * 5000, b""])
async def test_a_file_of_another_process_is_there_only_if_it_holds_what_its_name_says(
    spool: Spool, tmp_path: Path, content: bytes
) -> None:
    stored = await spool.within("edge-1").receive(stream(b"x" * 5000), 5000, size=5000)
    assert spool.within("edge-1").has(stored.sha256)
    spool.within("edge-1").path(stored.sha256).write_bytes(content)
    later = Spool(tmp_path / "t" / "1", SpooledFiles()).within("edge-1")
    assert later.has(stored.sha256) == (content == b"x" * 5000)
    assert later.names() == ([stored.sha256] if content == b"x" * 5000 else [])


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[memoryview]:
    async for chunk in chunks:
        yield memoryview(chunk)
