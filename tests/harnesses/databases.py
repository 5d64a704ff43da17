"""Make a database without rows for a run of a harness."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import make_url

from app.store import migrations
from tests import databases, postgres

Kind = Literal["postgres", "sqlite"]


@contextmanager
def database_server(kind: Kind) -> Iterator[str | None]:
    """Run a Postgres server and return its URL; None for SQLite, which needs no server."""
    if kind == "sqlite":
        yield None
        return
    with postgres.server() as url:
        yield url


@asynccontextmanager
async def blank_database(server: str | None, directory: Path) -> AsyncIterator[str]:
    """Make a database without a schema on a Postgres `server` or in a file in `directory`, and return its URL."""
    if server is None:
        directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (it is ours alone, and quick)
        yield f"sqlite+aiosqlite:///{directory / 'tcsfeel.db'}"
        return
    name = await asyncio.to_thread(databases.create, make_url(server), "template1")
    try:
        yield databases.address(make_url(server), name)
    finally:
        await asyncio.to_thread(databases.drop, make_url(server), name)


@asynccontextmanager
async def new_database(server: str | None, directory: Path) -> AsyncIterator[str]:
    """Make a migrated database without rows, and return its URL."""
    async with blank_database(server, directory) as url:
        await migrations.upgrade(url)
        yield url
