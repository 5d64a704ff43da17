"""What is kept on the disk is kept from other users, whatever the umask is."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app import data_directory
from app.clock import SystemClock
from app.composition import build
from app.services.lifetime import running
from app.store.model_store import ModelStore
from tcsfeel import private
from tcsfeel.agent import Profile
from tcsfeel.agent.labels import LabelReleases
from tests.planes import Adder, plane, settings


@pytest.fixture(autouse=True)
def open_to_all() -> Iterator[None]:
    """The umask that hides nothing."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, str]:
    """The modes of a directory and of all below it that others can do anything with."""
    return {
        str(path.relative_to(directory)): stat.filemode(path.stat().st_mode)
        for path in (directory, *directory.rglob("*"))
        if path.stat().st_mode & 0o077
    }


async def test_a_server_makes_nothing_that_others_can_read(tmp_path: Path) -> None:
    data = tmp_path / "some" / "data"
    url = f"sqlite+aiosqlite:///{data}/tcsfeel.db"
    trainer = Adder()
    async with plane(data, url, {"a": trainer}, auth={}) as one:
        training_id = await one.create(max_rounds=2)
        await one.run_round(training_id)
        trainer.open.clear()
        kept = {path.name for path in data.iterdir()}
        assert kept == {"admin-key", "tcsfeel.db", "tcsfeel.db-wal", "tcsfeel.db-shm", "models", "spool"}
        assert any((data / "models").iterdir())
        assert modes(tmp_path / "some") == {}


def test_an_unfinished_file_is_private_too(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "spool").within("t")
    seen: dict[str, str] = {}

    def chunks() -> Iterator[bytes]:
        yield b"a"
        seen.update(modes(tmp_path / "spool"))

    store.write(chunks())
    assert seen == modes(tmp_path / "spool") == {}


def test_the_noise_of_an_agent_is_private(tmp_path: Path) -> None:
    releases = LabelReleases(tmp_path / "deep" / "state", epsilon=1.0)
    assert releases.of("edge-7", Profile(data_size=10, data_distribution=[4.0, 6.0])) is not None
    assert any((tmp_path / "deep" / "state").iterdir())
    assert modes(tmp_path / "deep") == {}


def loosen(data: Path) -> None:
    data.chmod(0o755)
    for path in data.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


async def test_what_is_readable_by_others_is_mended_at_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "models").mkdir(parents=True)
    (data / "models" / "file").touch()
    (data / "spool" / "t").mkdir(parents=True)
    (data / "admin-key").write_text("an-admin-key-for-tests")
    loosen(data)
    with capture_logs() as logs:
        build(settings(data, f"sqlite+aiosqlite:///{data}/tcsfeel.db"), SystemClock(), None)
    assert modes(data) == {}
    assert [entry["event"] for entry in logs] == ["other users could read the data directory"]
    assert logs[0]["mended"] == 6
    with capture_logs() as again:
        build(settings(data, f"sqlite+aiosqlite:///{data}/tcsfeel.db"), SystemClock(), None)
    assert again == []


def test_a_directory_that_holds_other_things_is_left_as_it_is_and_told(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for directory in (data, elsewhere):
        directory.mkdir()
    (data / "admin-key").write_text("an-admin-key-for-tests")
    (data / "notes").touch()
    (elsewhere / "file").touch()
    (data / "models").symlink_to(elsewhere)
    loosen(tmp_path)
    with capture_logs() as logs:
        build(settings(data, f"sqlite+aiosqlite:///{data}/tcsfeel.db"), SystemClock(), None)
    assert modes(data).keys() == {".", "notes", "models"}
    assert modes(elsewhere).keys() == {".", "file"}
    assert [entry["event"] for entry in logs] == [
        "other users could read the data directory",
        "other users can read this: take their permissions away (chmod go=), or choose another directory",
    ]
    assert logs[1]["path"] == str(data)


async def test_a_database_elsewhere_is_private_where_it_is_new(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    system = build(settings(tmp_path / "data", f"sqlite+aiosqlite:///{tmp_path}/db/facts.db"), SystemClock(), None)
    async with running(system):
        await system.clients.register([])
        assert modes(tmp_path / "db").keys() == {"."}
        assert len(list((tmp_path / "db").iterdir())) == 3


def test_proof_of_writing_leaves_nothing(tmp_path: Path) -> None:
    data_directory.prove_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError):
            data_directory.prove_writable(place)


def test_a_database_that_is_there_keeps_the_locks_that_this_process_has_on_it(tmp_path: Path) -> None:
    """Replicas on one file wrote into each other's pages, and it was "malformed"."""
    path = str(tmp_path / "x.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN IMMEDIATE")
    data_directory.make_file(path)
    other = f"import sqlite3; sqlite3.connect({path!r}, timeout=0, isolation_level=None).execute('BEGIN IMMEDIATE')"
    tried = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)  # noqa: S603  (a program of the test's own)
    connection.close()
    assert "database is locked" in tried.stderr


def test_a_directory_is_made_although_the_one_above_it_is_removed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, removals = Path.mkdir, [tmp_path / "t", tmp_path / "t"]

    def disturbed(path: Path, mode: int) -> None:
        if path.name == "7" and removals:
            removals.pop().rmdir()
        mkdir(path, mode)

    monkeypatch.setattr(Path, "mkdir", disturbed)
    private.make_directory(tmp_path / "t" / "7")
    assert (tmp_path / "t" / "7").is_dir()
    assert not removals
    removals += [tmp_path / "other"] * 100
    with pytest.raises(FileNotFoundError):
        private.make_directory(tmp_path / "other" / "7")


def test_threads_may_make_the_same_directory_at_the_same_time(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as threads:
            for number in range(300):
                made = [threads.submit(private.make_directory, tmp_path / str(number) / "a" / "b") for _ in range(6)]
                assert [one.result() for one in made] == [None] * 6
    finally:
        sys.setswitchinterval(before)


def test_a_file_is_written_as_a_whole_and_only_for_this_user(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    private.write(path, b"first")
    private.write(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        private.write(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
