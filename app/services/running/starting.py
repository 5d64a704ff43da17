"""Check before a server starts that it can write to its directories and its database.

Otherwise it would accept work, fail at each step, and try again for ever.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from app import data_directory
from app.settings import Settings, WrongSetting
from app.store import migrations
from app.store.availability import DatabaseUnavailable
from app.store.database import in_a_line, is_outage

log = structlog.get_logger(__name__)


def claim_directories(settings: Settings) -> None:
    """Make the directories, prove that they can be written to, and take what is in them away from other users.

    Raises:
        WrongSetting: one of them is not to be written to.
    """
    models = "TCSFEEL_DATA_DIR" if settings.model_directory.is_relative_to(settings.data_dir) else "TCSFEEL_MODELS__URL"
    for variable, directory in (
        ("TCSFEEL_DATA_DIR", settings.data_dir),
        ("TCSFEEL_DATA_DIR", settings.data_dir / "spool"),
        (models, settings.model_directory),
    ):
        _prove(variable, directory)
    changed, left = data_directory.tighten(settings.data_dir)
    if changed:
        log.warning("other users could read the data directory", path=str(settings.data_dir), mended=len(changed))
    if left:
        log.warning(
            "other users can read this: take their permissions away (chmod go=), or choose another directory",
            path=str(left[0]),
            number=len(left),
        )


def _prove(variable: str, directory: Path) -> None:
    try:
        data_directory.prove_writable(directory)
    except OSError as error:
        raise WrongSetting(f"{variable}: {directory} cannot be written to: {error.strerror}") from error


async def migrate(settings: Settings) -> None:
    """Bring the database up to date. Raises `WrongSetting` where it does not answer, or refuses."""
    _prove("TCSFEEL_DATA_DIR", settings.data_dir)
    await _database(settings, migrations.upgrade, tolerant=False)


async def prepare_database(settings: Settings) -> None:
    """Bring the database up to date where that is ours to do, and prove that it can be written to.

    A Postgres that does not answer may come later, unless it is to be migrated.

    Raises:
        WrongSetting: the database refuses to be written to, or cannot be what this version needs.
    """
    migrates = settings.database_url.startswith("sqlite") or settings.database.migrate_on_start
    if migrates:
        await _database(settings, migrations.upgrade, tolerant=False)
    await _database(settings, migrations.prove_writable, tolerant=not migrates)


async def _database(settings: Settings, work: Callable[[str], Awaitable[None]], *, tolerant: bool) -> None:
    """Do `work` on the database, and name the setting where that fails; `tolerant` lets an outage pass."""
    try:
        await work(settings.database_url)
    except (SQLAlchemyError, migrations.WrongSchema, OSError) as error:
        if not (tolerant and is_outage(error)):
            words = str(error) if isinstance(error, DatabaseUnavailable | migrations.WrongSchema) else in_a_line(error)
            url = make_url(settings.database_url)
            if url.get_backend_name() != "sqlite":
                raise WrongSetting(f"TCSFEEL_DATABASE__URL: {words}") from error
            variable = "TCSFEEL_DATA_DIR" if settings.database.url is None else "TCSFEEL_DATABASE__URL"
            path = Path(url.database or "")
            said = _trouble(path) or str(getattr(error, "orig", None) or words)
            raise WrongSetting(f"{variable}: {path} cannot be used as the database: {said}") from error


def _trouble(path: Path) -> str | None:
    """Say what keeps this user from an SQLite file, of which SQLite says only that it is not to be opened."""
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}: make it, or name another file"
    if path.is_dir():
        return "it is a directory: name a file, or move the directory away"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return "this user may not read and write it"
    return None
