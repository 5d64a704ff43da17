"""A migrated database without rows for one run of a harness."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import asyncpg
from sqlalchemy.engine import URL, make_url

from app.store import migrations
from tests import postgres

Kind = Literal["postgres", "sqlite"]


@contextmanager
def database_server(kind: Kind) -> Iterator[str | None]:
    """The URL of a Postgres server; None for SQLite, which has none."""
    if kind == "sqlite":
        yield None
        return
    with postgres.server() as url:
        yield url


@asynccontextmanager
async def new_database(server: str | None, directory: Path) -> AsyncIterator[str]:
    """The URL of a database on a Postgres `server`, or of a file in `directory`."""
    if server is None:
        directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (it is ours alone, and quick)
        url = f"sqlite+aiosqlite:///{directory / 'tcsfeel.db'}"
        await migrations.upgrade(url)
        yield url
        return
    name = f"tcsfeel_harness_{secrets.token_hex(8)}"
    await _execute(make_url(server), f'CREATE DATABASE "{name}"')
    try:
        url = make_url(server).set(database=name).render_as_string(hide_password=False)
        await migrations.upgrade(url)
        yield url
    finally:
        await _execute(make_url(server), f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(server: URL, statement: str) -> None:
    connection = await asyncpg.connect(server.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
