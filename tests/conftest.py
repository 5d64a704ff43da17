"""Databases for tests: migrated once a session, then copied, so that each test has its own.

A test that takes `database_url` runs twice, on SQLite and on Postgres. Those that give URLs are plain
functions, so that tests of the command line, which run their own event loop, can take them as well.
"""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url

from app.store import migrations
from app.store.database import Database
from tests import buckets, postgres

BACKENDS = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a database on a running server, for tests that create databases themselves."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a migrated database, never connected to, from which the tests' own are made."""
    with _database(postgres_server, template="template0") as url:
        _run(migrations.upgrade(url))
        yield cast("str", make_url(url).database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, from which the tests' own are made."""
    path = tmp_path_factory.mktemp("template") / "tcsfeel.db"
    _run(migrations.upgrade(_sqlite_url(path)))
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database without rows."""
    path = tmp_path / "tcsfeel.db"
    shutil.copyfile(sqlite_template, path)
    return _sqlite_url(path)


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """A migrated Postgres database without rows, dropped after the test."""
    with _database(postgres_server, template=postgres_template) as url:
        yield url


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database without rows, on each kind of database in turn."""
    return cast("str", request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=BACKENDS)
def blank_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without even a schema, on each kind of database in turn: for tests of the migrations."""
    if request.param == "sqlite":
        yield _sqlite_url(tmp_path / "blank.db")
    else:
        with _database(request.getfixturevalue("postgres_server"), template="template0") as url:
            yield url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """SQLite and Postgres in turn."""
    database = Database(database_url)
    yield database
    await database.dispose()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Those of an object store, as they are in the environment meanwhile."""
    for name, value in buckets.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return buckets.CREDENTIALS


@pytest.fixture
def bucket_server(credentials: dict[str, str]) -> Iterator[buckets.BucketServer]:
    """A running S3 server with an empty bucket, and `credentials` for it."""
    assert credentials
    with buckets.bucket_server() as server:
        yield server


def _sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@contextmanager
def _database(server: str, *, template: str) -> Iterator[str]:
    name = f"tcsfeel_test_{uuid.uuid4().hex}"
    url = make_url(server)
    _run(_execute(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    try:
        yield url.set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)
    finally:
        # What a test left connected, or a killed replica of its own did, must not stand in the way.
        _run(_execute(url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(server: URL, statement: str) -> None:
    connection = await asyncpg.connect(server.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run on a loop of its own in a thread of its own, whatever loop this thread has or will have."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, coroutine).result()
