"""The names by which failures of the database are counted, and that each transaction is timed."""

import sqlite3

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from app.store.availability import DatabaseUnavailable, NoAnswer, NoFreeConnection, TooManyConnections
from app.store.database import Database
from app.store.failures import REASONS, REFUSALS, reason_of


class Driver(Exception):
    """An error of Postgres's driver."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


def of_postgres(sqlstate: str, *, lost: bool = False) -> DBAPIError:
    return DBAPIError("SELECT 1", None, Driver(sqlstate), connection_invalidated=lost)


def of_sqlite(code: int) -> OperationalError:
    error = sqlite3.OperationalError("said by SQLite")
    error.sqlite_errorcode = code
    return OperationalError("SELECT 1", None, error)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (of_postgres("53100"), "full"),
        (of_postgres("57014"), "no_answer"),
        (of_postgres("57P01"), "unreachable"),
        (of_postgres("08006"), "unreachable"),
        (of_postgres("40001"), "conflict"),
        (of_postgres("40P01"), "conflict"),
        (of_postgres("58030"), "file"),
        (of_postgres("00000", lost=True), "unreachable"),
        (of_postgres("22003"), None),
        (of_sqlite(sqlite3.SQLITE_FULL), "full"),
        (of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), "busy"),
        (of_sqlite(sqlite3.SQLITE_IOERR_WRITE), "file"),
        (of_sqlite(sqlite3.SQLITE_ERROR), None),
        (IntegrityError("INSERT", None, Driver("23505")), None),
        (NoAnswer("silence"), "no_answer"),
        (NoFreeConnection("busy"), "busy"),
        (TooManyConnections("full"), "unreachable"),
        (DatabaseUnavailable("gone"), "unreachable"),
        (ValueError("of the caller"), None),
    ],
)
def test_the_trouble_of_the_database_has_a_short_name(error: BaseException, reason: str | None) -> None:
    assert reason_of(error) == reason
    assert reason is None or reason in REASONS


def test_a_transaction_is_refused_for_one_of_four_reasons() -> None:
    assert set(REFUSALS) == {"busy", "too_many_connections", "no_answer", "unreachable"}


async def test_a_full_database_is_counted_in_the_transaction_that_it_ends(sqlite_url: str) -> None:
    counted: list[str] = []
    ended: list[str] = []
    db = Database(sqlite_url, on_failure=counted.append, on_end=lambda kind, _: ended.append(kind))

    async def fill() -> None:
        async with db.begin() as tx:
            pages = (await tx.connection.execute(text("PRAGMA page_count"))).scalar_one()
            await tx.connection.execute(text(f"PRAGMA max_page_count={pages}"))
            await tx.connection.execute(text("CREATE TABLE filled (bytes BLOB)"))
            await tx.connection.execute(text("INSERT INTO filled VALUES (zeroblob(1000000))"))

    try:
        with pytest.raises(OperationalError, match="full"):
            await fill()
    finally:
        await db.dispose()
    assert counted == ["full"]
    assert ended == []


async def test_each_transaction_that_commits_is_timed_by_its_kind(database_url: str) -> None:
    ended: list[tuple[str, float]] = []
    db = Database(database_url, on_end=lambda kind, seconds: ended.append((kind, seconds)))
    try:
        for kind in (db.begin, db.read, db.glance):
            async with kind() as tx:
                await tx.now()
        with pytest.raises(ValueError, match="of the caller"):
            async with db.begin():
                raise ValueError("of the caller")
    finally:
        await db.dispose()
    assert [kind for kind, _ in ended] == ["write", "read", "read"]
    assert all(seconds > 0 for _, seconds in ended)
