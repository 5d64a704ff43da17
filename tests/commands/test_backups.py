"""``tcsfeel backup``, ``verify`` and ``restore``: what was stored comes back, and what was changed is noticed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert, select

from app.commands import backup, restore, verify
from app.store.backups import TABLES
from app.store.database import Database
from app.store.model_store import ModelStore
from app.store.tables import events, model_versions, rounds, tasks, trainings
from tests.commands.rows import sample_rows

MODEL = b"the bytes of a model"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def command(one: Any, directory: Path, *, url: str, data: str = "data") -> Result:
        monkeypatch.setenv("TCSFEEL_DATA_DIR", str(tmp_path / data))
        monkeypatch.setenv("TCSFEEL_DATABASE__URL", url)
        return CliRunner().invoke(one, [str(directory)])

    return command


def stored(url: str) -> dict[str, list[dict[str, Any]]]:
    async def read() -> dict[str, list[dict[str, Any]]]:
        db = Database(url)
        async with db.read() as tx:
            found = {
                table.name: [
                    dict(row)
                    for row in (
                        await tx.connection.execute(select(table).order_by(*table.primary_key.columns))
                    ).mappings()
                ]
                for table in TABLES
            }
        await db.dispose()
        return found

    return asyncio.run(read())


def fill(url: str, data: Path) -> str:
    """Put a row into every table, and store the file that they name. Gives the name."""
    name = ModelStore(data / "models").write([MODEL]).sha256

    async def add() -> None:
        db = Database(url)
        async with db.begin() as tx:
            for table, rows in sample_rows(name).items():
                await tx.connection.execute(insert(table), rows)
        await db.dispose()

    asyncio.run(add())
    return name


def test_everything_comes_back_on_either_database(
    run: Any, database_url: str, blank_database_url: str, tmp_path: Path
) -> None:
    name = fill(database_url, tmp_path / "data")
    made = run(backup, tmp_path / "backup", url=database_url)
    assert made.exit_code == 0, made.output
    assert made.output.startswith("backed up ")
    assert run(verify, tmp_path / "backup", url="sqlite+aiosqlite:////nowhere/at-all.db").exit_code == 0
    back = run(restore, tmp_path / "backup", url=blank_database_url, data="other")
    assert back.exit_code == 0, back.output
    assert stored(blank_database_url) == stored(database_url)
    assert all(stored(blank_database_url).values()), "a table without a row would prove nothing"
    assert ModelStore(tmp_path / "other" / "models").path(name).read_bytes() == MODEL


def test_new_rows_get_numbers_after_those_that_came_back(
    run: Any, sqlite_url: str, blank_database_url: str, tmp_path: Path
) -> None:
    fill(sqlite_url, tmp_path / "data")
    run(backup, tmp_path / "backup", url=sqlite_url)
    assert run(restore, tmp_path / "backup", url=blank_database_url, data="other").exit_code == 0

    async def add() -> int:
        db = Database(blank_database_url)
        async with db.begin() as tx:
            values = {"at": 1.0, "type": "x", "data": {}}
            number = (await tx.connection.execute(insert(events).values(values).returning(events.c.id))).scalar_one()
        await db.dispose()
        return int(number)

    assert asyncio.run(add()) == stored(sqlite_url)["events"][-1]["id"] + 1


def test_a_backup_is_only_for_its_owner(run: Any, sqlite_url: str, tmp_path: Path) -> None:
    fill(sqlite_url, tmp_path / "data")
    run(backup, tmp_path / "backup", url=sqlite_url)
    found = [tmp_path / "backup", *(tmp_path / "backup").rglob("*")]
    assert len(found) > len(TABLES)
    assert {path.stat().st_mode & 0o077 for path in found} == {0}


def test_a_database_with_rows_and_a_directory_with_files_are_left_alone(
    run: Any, sqlite_url: str, tmp_path: Path
) -> None:
    fill(sqlite_url, tmp_path / "data")
    run(backup, tmp_path / "backup", url=sqlite_url)
    before = stored(sqlite_url)
    refused = run(restore, tmp_path / "backup", url=sqlite_url)
    assert refused.exit_code == 1
    assert "a backup needs an empty database" in refused.output
    assert stored(sqlite_url) == before
    again = run(backup, tmp_path / "backup", url=sqlite_url)
    assert again.exit_code == 1
    assert "is not empty: name a new directory" in again.output


def change_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("table", [trainings.name, rounds.name, events.name])
def test_a_changed_row_is_noticed(run: Any, sqlite_url: str, tmp_path: Path, table: str) -> None:
    fill(sqlite_url, tmp_path / "data")
    run(backup, tmp_path / "backup", url=sqlite_url)
    change_byte(tmp_path / "backup" / "tables" / f"{table}.jsonl")
    for command in (verify, restore):
        found = run(command, tmp_path / "backup", url="sqlite+aiosqlite:///" + str(tmp_path / "new.db"))
        assert found.exit_code == 1
        assert f"{table}.jsonl is not what was written" in found.output
    assert not (tmp_path / "new.db").exists()


def test_a_changed_or_missing_model_is_noticed(run: Any, sqlite_url: str, tmp_path: Path) -> None:
    name = fill(sqlite_url, tmp_path / "data")
    run(backup, tmp_path / "backup", url=sqlite_url)
    path = tmp_path / "backup" / "models" / name
    change_byte(path)
    assert f"{name} is not what was written" in run(verify, tmp_path / "backup", url=sqlite_url).output
    path.unlink()
    missing = run(verify, tmp_path / "backup", url=sqlite_url)
    assert (missing.exit_code, f"{name} is missing" in missing.output) == (1, True)


def test_a_store_that_lost_a_model_or_holds_other_bytes_makes_no_backup(
    run: Any, sqlite_url: str, tmp_path: Path
) -> None:
    name = fill(sqlite_url, tmp_path / "data")
    path = tmp_path / "data" / "models" / name
    change_byte(path)
    broken = run(backup, tmp_path / "broken", url=sqlite_url)
    assert (broken.exit_code, "has other bytes than were stored" in broken.output) == (1, True)
    path.unlink()
    lost = run(backup, tmp_path / "lost", url=sqlite_url)
    assert (lost.exit_code, f"{name} of a model version is missing" in lost.output) == (1, True)
    assert "was not completed" in run(verify, tmp_path / "lost", url=sqlite_url).output


def test_a_task_whose_file_is_gone_is_left_out(run: Any, sqlite_url: str, tmp_path: Path) -> None:
    fill(sqlite_url, tmp_path / "data")

    async def deliver() -> None:
        db = Database(sqlite_url)
        async with db.begin() as tx:
            await tx.connection.execute(tasks.update().values(result=64 * "0"))
        await db.dispose()

    asyncio.run(deliver())
    assert run(backup, tmp_path / "backup", url=sqlite_url).exit_code == 0
    assert run(verify, tmp_path / "backup", url=sqlite_url).exit_code == 0
    manifest = json.loads((tmp_path / "backup" / "manifest.json").read_text())
    assert manifest["tables"]["tasks"]["rows"] == 0
    assert manifest["tables"][model_versions.name]["rows"] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not a manifest"),
        ("{}", "is not a manifest"),
        ('{"format": 1e999}', "is not a manifest"),
        ("[" * 100_000, "is not a manifest"),
    ],
)
def test_a_manifest_that_is_none_is_refused(run: Any, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    found = run(verify, tmp_path, url="sqlite+aiosqlite:////nowhere/at-all.db")
    assert (found.exit_code, said in found.output) == (1, True)


@pytest.mark.parametrize(("field", "value", "said"), [
    ("format", 2, "has the format 2, and this version reads 1"),
    ("tables", {}, "which has other tables"),
    ("schema_versions", ["0001"], "restore it with that version, and upgrade then"),
])  # fmt: skip
def test_a_backup_of_another_version_is_not_restored(
    run: Any, sqlite_url: str, tmp_path: Path, *, field: str, value: object, said: str
) -> None:
    run(backup, tmp_path / "backup", url=sqlite_url)
    path = tmp_path / "backup" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    found = run(restore, tmp_path / "backup", url="sqlite+aiosqlite:///" + str(tmp_path / "new.db"))
    assert (found.exit_code, said in found.output) == (1, True), found.output
