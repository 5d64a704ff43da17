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
async def new_database(server: str | None, directory: Path, *, migrated: bool = True) -> AsyncIterator[str]:
    """Make a database on a Postgres `server` or in a file in `directory`, and return its URL."""
    migrate = migrations.upgrade if migrated else _nothing
    if server is None:
        directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (it is ours alone, and quick)
        url = f"sqlite+aiosqlite:///{directory / 'tcsfeel.db'}"
        await migrate(url)
        yield url
        return
    name = await asyncio.to_thread(databases.create, make_url(server), "template1")
    try:
        url = databases.address(make_url(server), name)
        await migrate(url)
        yield url
    finally:
        await asyncio.to_thread(databases.drop, make_url(server), name)


async def _nothing(url: str) -> None:
    """Leave a database without a schema."""
    del url
