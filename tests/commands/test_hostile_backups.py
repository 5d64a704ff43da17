"""Backups that were made to do harm, and places that are not those of the servers: each ends with a clear line."""

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from app.commands import backup, migrate, restore, verify
from app.store.database import Database
from tests.commands.test_backups import fill, run, stored

__all__ = ["run"]


@pytest.fixture
def made(run: Any, sqlite_url: str, tmp_path: Path) -> Path:
    """A backup with a row in every table."""
    fill(sqlite_url, tmp_path / "data")
    assert run(backup, tmp_path / "backup", url=sqlite_url).exit_code == 0
    return tmp_path / "backup"


def change(directory: Path, **fields: Any) -> None:
    """Change fields of the manifest."""
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_row(directory: Path, table: str, **fields: Any) -> None:
    """Change fields of the first row of a table, and the manifest so that the hash is right."""
    path = directory / "tables" / f"{table}.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in (json.dumps(json.loads(first) | fields), *others)))
    tables = json.loads((directory / "manifest.json").read_text())["tables"]
    tables[table]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    change(directory, tables=tables)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"made_at": 1e300}, "is not a manifest: made_at: "),
        ({"made_at": -1e300}, "is not a manifest: made_at: "),
        ({"files": -1}, "is not a manifest: files: "),
        ({"files": 7}, "the rows name 1 files with 20 bytes"),
        ({"bytes": 7}, "the rows name 1 files with 20 bytes"),
    ],
)
def test_a_manifest_with_wrong_numbers_is_refused(made: Path, run: Any, fields: Any, said: str) -> None:
    change(made, **fields)
    found = run(verify, made, url="sqlite+aiosqlite:////nowhere/at-all.db")
    assert (found.exit_code, said in found.output) == (1, True), (found.output, found.exception)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("model_versions", "sha256", 7),
        ("model_versions", "sha256", []),
        ("model_versions", "sha256", {"a": 1}),
        ("model_versions", "sha256", None),
        ("tasks", "model", [[]]),
        ("clients", "rounds_selected", "many"),
        ("clients", "rounds_selected", True),
        ("clients", "url", 1),
        ("api_keys", "created_at", "yesterday"),
        ("trainings", "stop_detail", 7),
    ],
)
def test_a_row_with_a_value_of_another_type_is_refused(
    made: Path, run: Any, table: str, column: str, value: Any
) -> None:
    change_row(made, table, **{column: value})
    found = run(verify, made, url="sqlite+aiosqlite:////nowhere/at-all.db")
    said = f"line 1 of {made / 'tables' / table}.jsonl has a value in {column} that cannot be there"
    assert (found.exit_code, said in found.output) == (1, True), (found.output, found.exception)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "\x00", "x\x1b[2J", ""])
def test_a_file_with_a_name_that_leads_elsewhere_is_refused(made: Path, run: Any, name: str) -> None:
    change_row(made, "model_versions", sha256=name)
    found = run(verify, made, url="sqlite+aiosqlite:////nowhere/at-all.db")
    assert (found.exit_code, "is not what was written" in found.output) == (1, True), found.output
    assert found.output.rstrip("\n").isprintable()


@pytest.mark.parametrize("what", ["manifest.json", "tables/clients.jsonl", "model"])
@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_what_is_not_a_file_is_not_read(made: Path, run: Any, what: str, kind: str) -> None:
    path = next((made / "models").iterdir()) if what == "model" else made / what
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    found = run(verify, made, url="sqlite+aiosqlite:////nowhere/at-all.db")
    assert (found.exit_code, f"{path} is not a file" in found.output) == (1, True), found.output


def test_a_database_of_an_older_version_with_rows_is_not_migrated_by_a_restoration(
    made: Path, run: Any, database_url: str, tmp_path: Path
) -> None:
    async def outdate() -> None:
        db = Database(database_url)
        async with db.begin() as tx:
            await tx.connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        await db.dispose()

    async def version() -> str:
        db = Database(database_url)
        async with db.read() as tx:
            found = (await tx.connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
        await db.dispose()
        return str(found)

    if not database_url.startswith("sqlite"):
        fill(database_url, tmp_path / "other")
    asyncio.run(outdate())
    found = run(restore, made, url=database_url)
    assert (found.exit_code, "a backup needs an empty database" in found.output) == (1, True), found.output
    assert asyncio.run(version()) == "0001"


def test_a_backup_is_restored_where_no_server_has_run(
    made: Path, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TCSFEEL_DATABASE__URL", raising=False)
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path / "a" / "new" / "place"))
    found = CliRunner().invoke(restore, [str(made)])
    assert found.exit_code == 0, found.output
    place = tmp_path / "a" / "new" / "place"
    assert stored(f"sqlite+aiosqlite:///{place / 'tcsfeel.db'}") == stored(sqlite_url)
    assert {path.stat().st_mode & 0o077 for path in (place, *place.rglob("*"))} == {0}


@pytest.mark.parametrize("exists", [True, False])
def test_a_place_without_a_database_is_not_backed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, exists: bool
) -> None:
    data = tmp_path / "data"
    if exists:
        data.mkdir()
    monkeypatch.delenv("TCSFEEL_DATABASE__URL", raising=False)
    monkeypatch.setenv("TCSFEEL_DATA_DIR", str(data))
    found = CliRunner().invoke(backup, [str(tmp_path / "backup")])
    said = f"there is no database at {data / 'tcsfeel.db'}: is TCSFEEL_DATA_DIR that of the servers?"
    assert (found.exit_code, said in found.output) == (1, True), found.output
    assert not (tmp_path / "backup").exists()
    assert not (data / "tcsfeel.db").exists()
    assert CliRunner().invoke(migrate).exit_code == 0
