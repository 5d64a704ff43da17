"""A server that cannot write does not start, and says in one line where."""

import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from app.clock import SystemClock
from app.composition import build
from app.services.running.starting import claim_directories, migrate, prepare_database
from app.settings import Settings, WrongSetting
from app.store.database import Database
from tcsfeel.cli import cli
from tests.planes import settings
from tests.roles import Role
from tests.store.samples import client

COMMAND = Path(sys.executable).with_name("tcsfeel")


@pytest.mark.parametrize(
    ("place", "models", "variable"),
    [
        ("data", None, "TCSFEEL_DATA_DIR"),
        ("data/spool", None, "TCSFEEL_DATA_DIR"),
        ("data/models", None, "TCSFEEL_DATA_DIR"),
        ("data/model-cache", "s3://some/prefix", "TCSFEEL_DATA_DIR"),
        ("elsewhere", "file://{}/elsewhere", "TCSFEEL_MODELS__URL"),
        ("elsewhere", "file://{}/elsewhere/below", "TCSFEEL_MODELS__URL"),
    ],
)
def test_a_directory_that_cannot_be_written_to_is_named(
    place: str, models: str | None, variable: str, sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file where a directory has to be")
    given: dict[str, Any] = {} if models is None else {"models": {"url": models.format(tmp_path)}}
    with pytest.raises(WrongSetting, match=f"^{variable}: {tmp_path / place}.* cannot be written to: .*irectory"):
        build(settings(tmp_path / "data", sqlite_url, **given), SystemClock(), None)


def test_the_command_ends_with_one_line_and_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").touch()
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path / "data"))
    for command in ("serve", "migrate"):
        result = CliRunner().invoke(cli, [command])
        assert result.exit_code == 1
        assert result.stderr == f"tcsfeel: TCSFEEL_DATA_DIR: {tmp_path}/data cannot be written to: Not a directory\n"


def test_a_disk_that_takes_no_byte_stops_the_start(tmp_path: Path) -> None:
    """Like a full or a read-only disk, a limit on the size of files refuses every write, also those of root."""
    done = subprocess.run(  # noqa: S603  (the command that this environment has installed)
        [COMMAND, "serve", "--port", "0"],
        env={"TCSFEEL_DATA_DIR": str(tmp_path / "data")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"tcsfeel: TCSFEEL_DATA_DIR: {tmp_path}/data cannot be written to: File too large\n"


@pytest.mark.parametrize("variable", ["TCSFEEL_DATA_DIR", "TCSFEEL_DATABASE__URL"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no database" * 1000, "file is not a database"),
        (None, "it is a directory: name a file, or move the directory away"),
    ],
)
def test_a_file_that_is_no_database_is_named_with_the_setting_that_decides_it(
    variable: str, content: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(data))
    path = data / "tcsfeel.db"
    if variable == "TCSFEEL_DATABASE__URL":
        path = tmp_path / "facts.db"
        monkeypatch.setenv(variable, f"sqlite+aiosqlite:///{path}")
    path.mkdir() if content is None else path.write_text(content)
    assert_both_commands_say(f"{variable}: {path} cannot be used as the database: {words}", monkeypatch)


def test_a_database_in_a_directory_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TCSFEEL_DATABASE__URL", f"sqlite+aiosqlite:///{tmp_path}/none/facts.db")
    words = f"there is no directory {tmp_path}/none: make it, or name another file"
    place = f"TCSFEEL_DATABASE__URL: {tmp_path}/none/facts.db cannot be used as the database"
    assert_both_commands_say(f"{place}: {words}", monkeypatch)


async def test_what_sqlite_says_of_a_statement_comes_without_the_name_of_a_class(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE clients (id INTEGER)")
    with pytest.raises(WrongSetting) as stopped:
        await prepare_database(settings(tmp_path, f"sqlite+aiosqlite:///{path}"))
    assert str(stopped.value) == (
        f"TCSFEEL_DATABASE__URL: {path} cannot be used as the database: table clients already exists"
    )


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_admin_key_that_cannot_be_read_is_named(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "admin-key"
    path.mkdir() if content is None else path.write_bytes(content)
    path.chmod(0o700)
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path))
    result = CliRunner().invoke(cli, ["serve"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    words = (
        "holds no key: remove it" if content else "which keeps the admin key, cannot be read: Is a directory: remove it"
    )
    assert result.stderr.startswith(f"tcsfeel: TCSFEEL_DATA_DIR: {path}")
    assert words in result.stderr


def assert_both_commands_say(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCSFEEL_AUTH__ADMIN_KEY", "an-admin-key-for-tests")
    for command in ("serve", "migrate"):
        result = CliRunner().invoke(cli, [command])
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, f"tcsfeel: {words}")


@pytest.fixture
async def reader(postgres_url: str) -> AsyncIterator[Role]:
    """Somebody who may read and nothing else."""
    async with Role.made(postgres_url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}") as role:
        yield role


async def test_a_database_that_this_user_must_not_write_to_stops_the_start(reader: Role, tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match=r"^TCSFEEL_DATABASE__URL: .*permission denied for table trainings"):
        await prepare_database(settings(tmp_path, reader.url))


async def test_a_database_that_is_read_only_stops_the_start(postgres_url: str, tmp_path: Path) -> None:
    statements = (
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {}",
        "ALTER ROLE {} SET default_transaction_read_only = on",
    )
    async with Role.made(postgres_url, *statements) as role:
        with pytest.raises(WrongSetting, match="cannot execute UPDATE in a read-only transaction"):
            await prepare_database(settings(tmp_path, role.url))


async def test_a_postgres_that_is_away_or_not_migrated_may_come_later(
    postgres_url: str, blank_database_url: str, tmp_path: Path
) -> None:
    away = make_url(postgres_url).set(port=1).render_as_string(hide_password=False)
    await prepare_database(settings(tmp_path, away))
    await prepare_database(settings(tmp_path, blank_database_url))
    migrating = Settings(data_dir=tmp_path, database={"url": away, "migrate_on_start": True})
    with pytest.raises(WrongSetting, match="TCSFEEL_DATABASE__URL: "):
        await prepare_database(migrating)


def test_directories_are_made_and_other_users_lose_what_they_could_read(tmp_path: Path, sqlite_url: str) -> None:
    given = settings(tmp_path / "data", sqlite_url)
    claim_directories(given)
    for directory in (given.data_dir, given.data_dir / "spool", given.model_directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    secret = given.data_dir / "admin-key"
    secret.touch(mode=0o644)
    secret.chmod(0o644)
    with capture_logs() as logs:
        claim_directories(given)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert [(line["event"], line["mended"]) for line in logs] == [("other users could read the data directory", 1)]


async def test_a_blank_database_is_migrated_and_keeps_its_rows_when_it_is_migrated_again(
    blank_database_url: str, tmp_path: Path
) -> None:
    given = settings(tmp_path, blank_database_url)
    await migrate(given)
    db = Database(blank_database_url)
    async with db.begin() as tx:
        await tx.clients.add([client("a")])
    await migrate(given)
    async with db.read() as tx:
        assert await tx.clients.ids() == ["a"]
    await db.dispose()


async def test_a_migration_of_a_postgres_that_is_away_names_the_setting(postgres_url: str, tmp_path: Path) -> None:
    away = make_url(postgres_url).set(port=1).render_as_string(hide_password=False)
    with pytest.raises(WrongSetting, match=r"^TCSFEEL_DATABASE__URL: "):
        await migrate(settings(tmp_path, away))
