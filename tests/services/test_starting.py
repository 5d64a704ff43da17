"""A server that cannot write does not start, and says in one line where."""

import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from app.cli import cli
from app.clock import SystemClock
from app.main import build
from app.services.starting import prepare_database
from app.settings import Settings, WrongSetting
from tests.planes import settings
from tests.roles import Role

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


@pytest.mark.parametrize(
    ("content", "words"), [("no database" * 1000, "file is not a database"), (None, "unable to open database file")]
)
async def test_a_file_that_is_no_database_is_named(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    path.mkdir() if content is None else path.write_text(content)
    with pytest.raises(WrongSetting, match=f"TCSFEEL_DATABASE__URL: .*{words}"):
        await prepare_database(settings(tmp_path, f"sqlite+aiosqlite:///{path}"))


def test_a_broken_database_stops_the_command_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tcsfeel.db").write_text("no database" * 1000)
    (tmp_path / "tcsfeel.db").chmod(0o600)
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TCSFEEL_AUTH__ADMIN_KEY", "an-admin-key-for-tests")
    for command in ("serve", "migrate"):
        result = CliRunner().invoke(cli, [command])
        assert result.exit_code == 1
        assert result.stderr == "tcsfeel: TCSFEEL_DATABASE__URL: file is not a database\n"


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
