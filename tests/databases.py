"""Databases of a Postgres server, made and dropped for tests, or emptied and used again."""

import asyncio
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.engine import URL, make_url

from app.store import migrations
from app.store.tables import metadata

Result = TypeVar("Result")

TABLES = [table.name for table in reversed(metadata.sorted_tables)]  # those first that name others
FEW = 1000  # rows; what many leave behind when they are deleted would slow the next test down
_DISCONNECT = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Copies:
    """Copies of a migrated database. One that was used is emptied, which takes a tenth of making a new one."""

    def __init__(self, server: str, template: str) -> None:
        self._server = make_url(server)
        self._template = template
        self._spare: list[str] = []

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a copy without rows."""
        name = self._spare.pop() if self._spare else create(self._server, self._template)
        url = address(self._server, name)
        try:
            yield url
        finally:
            if run(_emptied(make_url(url))):
                self._spare.append(name)
            else:
                drop(self._server, name)

    def drop(self) -> None:
        while self._spare:
            drop(self._server, self._spare.pop())


def create(server: URL, template: str) -> str:
    """The name of a new database like `template`."""
    name = f"tcsfeel_test_{uuid.uuid4().hex}"
    run(_execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    return name


def drop(server: URL, name: str) -> None:
    """What a test left connected, or a killed replica of its own did, does not stand in the way."""
    run(_execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


def address(server: URL, name: str) -> str:
    return server.set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run on a loop of its own in a thread of its own, whatever loop this thread has or will have."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def _emptied(url: URL) -> bool:
    """Disconnect everybody and delete all rows. False where the database is not worth it, or not as it was."""
    connection = await _connect(url)
    try:
        await connection.execute(_DISCONNECT)
        present = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        if {name for (name,) in present} != {*TABLES, "alembic_version"}:
            return False
        versions = await connection.fetch("SELECT version_num FROM alembic_version")
        if {version for (version,) in versions} != migrations.heads():
            return False
        deleted = [await connection.execute(f'DELETE FROM "{table}"') for table in TABLES]  # noqa: S608  (our own names)
        await connection.execute("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'")
    finally:
        await connection.close()
    return sum(int(told.rpartition(" ")[2]) for told in deleted) <= FEW


async def _execute(server: URL, statement: str) -> None:
    connection = await _connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _connect(url: URL) -> "asyncpg.Connection":
    return await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
