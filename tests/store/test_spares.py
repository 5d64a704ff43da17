"""Spare files are kept for a while, up to a number of bytes, and are given to contents with as many pages."""

import os
import time
from pathlib import Path

import pytest

from app.store import spares
from app.store.spares import SpareFiles


def made(directory: Path, name: str, size: int) -> Path:
    path = directory / name
    path.write_bytes(bytes(size))
    return path


def test_a_file_is_given_to_a_content_with_as_many_pages_and_only_once(tmp_path: Path) -> None:
    files, into = SpareFiles(), tmp_path / "spares"
    assert files.give(made(tmp_path, "a", 5000), into)
    assert files.take(4096) is files.take(8193) is None
    path = files.take(8192)
    assert path is not None
    assert list(into.iterdir()) == [path]
    assert files.take(8192) is None
    assert into.stat().st_mode & 0o077 == 0, "nobody else may read what an agent sent"


def test_there_is_room_for_so_many_bytes_in_whole_pages(tmp_path: Path) -> None:
    files, into = SpareFiles(most=12_288), tmp_path / "spares"
    assert files.give(made(tmp_path, "a", 4097), into)
    second = made(tmp_path, "b", 4097)
    assert not files.give(second, into)
    assert second.exists(), "whoever gives it removes it"
    assert files.give(made(tmp_path, "c", 1), into)
    assert not files.give(made(tmp_path, "d", 1), into)
    assert files.take(1) is not None
    assert files.give(made(tmp_path, "e", 1), into)
    assert not files.give(made(tmp_path, "empty", 0), into), "there is nothing to be saved"


def test_a_file_that_is_not_there_takes_no_room(tmp_path: Path) -> None:
    files, into = SpareFiles(most=4096), tmp_path / "spares"
    with pytest.raises(FileNotFoundError):
        files.give(tmp_path / "gone", into)
    into.write_text("in the way")
    with pytest.raises(OSError, match="spares"):
        files.give(made(tmp_path, "a", 1), into)
    into.unlink()
    assert files.give(tmp_path / "a", into)


def test_what_no_round_needs_is_removed_and_what_another_process_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, into = SpareFiles(most=8192), tmp_path / "spares"
    files.sweep(into, 0.0)  # there is no such directory yet
    files.give(made(tmp_path, "a", 1), into)
    (kept,) = into.iterdir()
    foreign, recent = made(into, "foreign", 1), made(into, "recent", 1)
    then = time.time() - 100.0
    for path in (kept, foreign):
        os.utime(path, (then, then))
    files.sweep(into, 50.0)
    assert sorted(into.iterdir()) == sorted([kept, recent])
    monkeypatch.setattr(spares, "SPARE_SECONDS", -1.0)
    files.sweep(into, 50.0)
    assert list(into.iterdir()) == [recent]
    assert files.take(1) is None
    assert files.give(made(tmp_path, "b", 8192), into), "there is room again"


def test_nothing_more_is_kept_if_the_disk_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, into = SpareFiles(most=4096), tmp_path / "spares"
    path = made(tmp_path, "a", 1)
    with monkeypatch.context() as nearly_full:
        nearly_full.setattr(spares, "LEAST_FREE_BYTES", 1 << 62)
        assert not files.give(path, into)
    assert path.exists()
    assert files.give(path, into)
