"""Make, restore and verify backups of what the settings name, with a one-line reason if that fails."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from app.services.running.stores import model_files
from app.settings import Settings
from app.store import backing_up
from app.store.availability import DatabaseUnavailable
from app.store.backups import Backup, BrokenBackup, Manifest
from app.store.migrations import WrongSchema
from tcsfeel import private
from tcsfeel.cli.ending import fail

Work = Callable[[Settings, Path], Awaitable[Manifest]]


def run(work: Work, settings: Settings, directory: Path) -> str:
    """Run one of the functions below, and describe the backup. Ends the command with the reason if it fails."""

    async def working() -> Manifest:
        return await work(settings, directory)

    try:
        return described(asyncio.run(working()))
    except (BrokenBackup, backing_up.CannotRestore, DatabaseUnavailable, WrongSchema, OSError) as error:
        fail(str(error))
    except SQLAlchemyError as error:
        fail(str(getattr(error, "orig", None) or error))


async def make(settings: Settings, directory: Path) -> Manifest:
    """Write a backup into a new directory."""
    database = _sqlite_file(settings)
    if database is not None and not database.is_file():  # SQLite would make an empty one
        raise FileNotFoundError(f"there is no database at {database}: is TCSFEEL_DATA_DIR that of the servers?")
    files, _ = model_files(settings)
    return await backing_up.back_up(settings.database_url, files, directory)


async def bring_back(settings: Settings, directory: Path) -> Manifest:
    """Write a backup into an empty database and the store of models."""
    database = _sqlite_file(settings)
    if database is not None:
        private.make_directory(database.parent)
    files, _ = model_files(settings)
    return await backing_up.restore(settings.database_url, files, directory)


def _sqlite_file(settings: Settings) -> Path | None:
    """Return the path of the database, or None if it is Postgres."""
    url = make_url(settings.database_url)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def verified(directory: Path) -> str:
    """Verify a backup, and describe it. Ends the command with the reason if it is broken."""
    try:
        return described(Backup(directory).verify())
    except BrokenBackup as error:
        fail(str(error))


def described(manifest: Manifest) -> str:
    """Say in a line what a backup has."""
    rows = sum(table.rows for table in manifest.tables.values())
    made_at = datetime.fromtimestamp(manifest.made_at, UTC).isoformat(timespec="seconds")
    return (
        f"{rows} rows of {len(manifest.tables)} tables and {manifest.files} files with {manifest.bytes} bytes, "
        f"as they were at {made_at}"
    )
