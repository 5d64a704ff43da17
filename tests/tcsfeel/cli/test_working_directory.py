"""The command runs our own code, whatever lies in the directory that it is called from."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from app.demo.leash import Child
from app.demo.stage import environment
from app.store.tables import metadata

COMMAND = Path(sys.executable).with_name("tcsfeel")
MARK = "from pathlib import Path; Path({place!r}).touch()\nraise SystemExit('a foreign module was run: ' + __file__)\n"
MODULES = [
    *("alembic.py", "sqlalchemy.py", "typing_extensions.py", "click.py", "httpx2.py", "aiosqlite.py", "tests.py"),
    *("migrations/__init__.py", "migrations/env.py", "app/__init__.py", "sdk/tcsfeel/cli/__init__.py", "json.py"),
]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working directory with modules that are named like ours; each leaves a file when it is run."""
    directory = tmp_path / "hostile"
    for name in MODULES:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MARK.format(place=str(tmp_path / f"ran-{name.replace('/', '-')}")))
    (directory / "migrations" / "versions").mkdir()
    (directory / "edge_trainer.py").write_text(
        "import json, typing_extensions, sqlalchemy\nprint('the trainer was run')\n"
    )
    return directory


def ran(hostile: Path) -> list[str]:
    return sorted(path.name for path in hostile.parent.glob("ran-*"))


def run(hostile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["TCSFEEL_DATA_DIR"] = str(hostile.parent / "data")
    return subprocess.run(  # noqa: S603  (the command that this environment has installed)
        [COMMAND, *arguments], cwd=hostile, env=variables, capture_output=True, text=True, check=False, timeout=60
    )


def test_migrate_runs_our_migrations_beside_foreign_ones(hostile: Path) -> None:
    done = run(hostile, "migrate")
    assert ran(hostile) == []
    assert (done.returncode, done.stdout) == (0, "the database is up to date\n"), done.stderr
    with sqlite3.connect(hostile.parent / "data" / "tcsfeel.db") as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    database.close()
    assert set(metadata.tables) <= names


@pytest.mark.parametrize(
    "arguments",
    [
        ("clients", "--server", "http://127.0.0.1:9", "--key", "x"),
        ("serve", "--port", "70000"),
        ("demo", "--agents", "1"),
    ],
    ids=["clients", "serve", "demo"],
)
def test_no_command_imports_from_the_working_directory(hostile: Path, arguments: tuple[str, ...]) -> None:
    done = run(hostile, *arguments)
    assert ran(hostile) == []
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr


def test_neither_does_the_command_as_a_module(hostile: Path) -> None:
    command = [sys.executable, "-m", "tcsfeel", "clients", "--server", "http://127.0.0.1:9", "--key", "x"]
    done = subprocess.run(command, cwd=hostile, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  (our own)
    assert ran(hostile) == []
    assert (done.returncode, done.stderr[:44]) == (1, "tcsfeel: http://127.0.0.1:9 does not answer:")


def test_an_agent_finds_its_trainer_in_the_working_directory_and_nothing_that_others_have(hostile: Path) -> None:
    done = run(hostile, "agent", "edge_trainer:trainer", "--id", "a", "--key", "x")
    assert ran(hostile) == []
    assert done.stdout == "the trainer was run\n", done.stderr
    assert done.stderr == "tcsfeel: module edge_trainer has no trainer\n"


def test_a_child_of_the_demo_does_not_import_from_the_working_directory(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile)
    child = Child(
        "the child",
        *("tcsfeel.cli:main", "migrate"),
        log=hostile.parent / "child.log",
        environment=environment(hostile.parent / "data"),
    )
    child.wait()
    child.let_go()
    assert child.log.read_text() == "the database is up to date\n"
    assert ran(hostile) == []
