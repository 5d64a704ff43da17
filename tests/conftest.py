"""Databases for tests: migrated once a session, then copied, so that each test has its own.

A test that takes `database_url` runs twice, on SQLite and on Postgres. Those that give URLs are plain
functions, so that tests of the command line, which run their own event loop, can take them as well.
"""

import gc
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import pytest
import structlog
from hypothesis import is_hypothesis_test, settings
from sqlalchemy.engine import make_url

from app.store import migrations
from app.store.database import Database
from tests import buckets, databases, postgres
from tests.authorities import Authority
from tests.dialects import share_compiled_statements

BACKENDS = ("sqlite", "postgres")
HERE = Path(__file__).parent
CORE = [
    HERE / room
    for room in (
        "domain",
        "services",
        "tcsfeel/selection",
        "tcsfeel/network",
        "tcsfeel/aggregation",
        "tcsfeel/wire",
    )
]

# Tests of what an extra brings are not collected where it is not installed, as with the lowest versions.
collect_ignore = ["services/tasks/test_traced.py", "traces"] if find_spec("opentelemetry.sdk") is None else []

# An example may take any time: machines are busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# structlog's default draws the local variables of a traceback, as far down as they go: seconds of a busy event loop for
# each error, and minutes where the lines are traced.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

share_compiled_statements()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a Postgres, and the core's own.

    Tests on Postgres, property tests and those that are marked as untraced are not marked as the core's: their code has
    been reached by others, and under the tracer they take twice the time.
    """
    for item in items:
        on_postgres = "postgres" in item.name or "postgres_server" in getattr(item, "fixturenames", ())
        if on_postgres:
            item.add_marker(pytest.mark.postgres)
        untraced = on_postgres or is_hypothesis_test(getattr(item, "obj", None)) or item.get_closest_marker("untraced")
        if not untraced and _is_of_the_core(item.path):
            item.add_marker(pytest.mark.core)


@cache
def _is_of_the_core(path: Path) -> bool:
    return any(path.is_relative_to(room) for room in CORE)


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what is loaded by now, and run more rarely. It saves a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def _system_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the system trust one authority, which has certified nobody.

    To load those that it trusts otherwise takes 27 ms, and each control plane loads them twice. Processes inherit it.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(Authority(tmp_path_factory.mktemp("authorities")).ca))
        patched.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("no_authorities")))
        yield


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Let a test configure logging, and put it back afterwards."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a database on a running server, for tests that create databases themselves."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a migrated database, never connected to, from which the tests' own are made."""
    server = make_url(postgres_server)
    name = databases.create(server, "template0")
    databases.run(migrations.upgrade(databases.address(server, name)))
    yield name
    databases.drop(server, name)


@pytest.fixture(scope="session")
def postgres_copies(postgres_server: str, postgres_template: str) -> Iterator[databases.Copies]:
    copies = databases.Copies(postgres_server, postgres_template)
    yield copies
    copies.drop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, from which the tests' own are made."""
    path = tmp_path_factory.mktemp("template") / "tcsfeel.db"
    databases.run(migrations.upgrade(_sqlite_url(path)))
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database without rows."""
    path = tmp_path / "tcsfeel.db"
    shutil.copyfile(sqlite_template, path)
    return _sqlite_url(path)


@pytest.fixture
def postgres_url(postgres_copies: databases.Copies) -> Iterator[str]:
    """A migrated Postgres database without rows."""
    with postgres_copies.one() as url:
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
        server = make_url(request.getfixturevalue("postgres_server"))
        name = databases.create(server, "template0")
        yield databases.address(server, name)
        databases.drop(server, name)


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
