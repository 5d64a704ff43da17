"""Transactions, on both databases."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from app.domain.errors import NotFound
from app.domain.events.clients import ClientRemoved
from app.sharing import party
from app.store.availability import DatabaseUnavailable
from app.store.database import Database, is_outage
from tests.store.samples import client, training


async def ids(db: Database) -> list[str]:
    async with db.read() as tx:
        return await tx.clients.ids()


async def test_a_transaction_is_written_when_its_block_ends(db: Database) -> None:
    async with db.begin() as tx:
        await tx.clients.add([client("a")])
        assert await tx.clients.ids() == ["a"]  # it sees its own writes
    assert await ids(db) == ["a"]


async def test_a_transaction_that_raises_is_undone_whole(db: Database) -> None:
    async def fail() -> None:
        async with db.begin() as tx:
            await tx.clients.add([client("a")])
            await tx.trainings.add(training())
            await tx.events.append(ClientRemoved(client_id="never"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await ids(db) == []
    async with db.read() as tx:
        assert (await tx.trainings.page(limit=10, after=None)).items == []


async def test_a_transaction_that_is_cancelled_is_undone_and_holds_up_nobody(db: Database) -> None:
    written = asyncio.Event()

    async def hang() -> None:
        async with db.begin() as tx:
            await tx.clients.add([client("a")])
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20), db.begin() as tx:
        await tx.clients.add([client("b")])
    assert await ids(db) == ["b"]


async def test_a_transaction_may_follow_upon_a_cancelled_one_at_once(db: Database) -> None:
    """While the cancellation is still on its way: it keeps what it met alive, and that must not keep a lock."""
    followed = 0

    async def write(name: str) -> None:
        async with db.begin() as tx:
            await tx.clients.add([client(name)])
            await tx.clients.all()

    async def leave_word(name: str) -> None:
        nonlocal followed
        try:
            await write(name)
        except asyncio.CancelledError:
            async with asyncio.timeout(10):
                await write(f"{name}-cancelled")
            followed += 1
            raise

    for step in range(40):
        task = asyncio.create_task(leave_word(str(step)))
        await asyncio.sleep(step * 0.0002)  # somewhere in it
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert len([name for name in await ids(db) if name.endswith("cancelled")]) == followed > 0


async def test_what_is_not_committed_is_seen_by_nobody(db: Database) -> None:
    async with db.begin() as tx:
        await tx.clients.add([client("a")])
        assert await ids(db) == []


async def test_a_snapshot_does_not_see_what_is_written_later(db: Database) -> None:
    async with db.read() as tx:
        assert await tx.clients.ids() == []  # the snapshot is taken by the first look
        async with db.begin() as writer:
            await writer.clients.add([client("a")])
            await writer.trainings.add(training())
        assert await tx.clients.ids() == []
        assert (await tx.trainings.page(limit=10, after=None)).items == []
    assert await ids(db) == ["a"]


async def test_a_snapshot_refuses_to_write(db: Database) -> None:
    with pytest.raises(DBAPIError):
        async with db.read() as tx:
            await tx.clients.add([client("a")])
    async with db.begin() as tx:  # and the connection it used writes again
        await tx.clients.add([client("a")])


async def test_many_transactions_share_few_connections(database_url: str) -> None:
    db = Database(database_url, pool_size=2)

    async def add(number: int) -> None:
        async with db.begin() as tx:
            await tx.clients.add([client(f"c{number:02}")])
        await ids(db)

    await asyncio.gather(*(add(number) for number in range(30)))
    assert len(await ids(db)) == 30
    await db.dispose()


@pytest.fixture
async def replicas(tmp_path: Path, sqlite_url: str) -> AsyncIterator[list[Database]]:
    """Several processes' databases on one SQLite file, as far as the file can tell."""
    assert (tmp_path / "tcsfeel.db").exists()
    databases = [Database(sqlite_url) for _ in range(4)]
    yield databases
    for database in databases:
        await database.dispose()


async def test_writers_of_several_processes_on_one_file_wait_for_each_other(replicas: list[Database]) -> None:
    async def count(db: Database) -> None:
        for _ in range(15):
            async with db.begin() as tx:
                found = await tx.trainings.get("t")  # reads first: a deferred transaction could not write after this
                await tx.leases.revoke("t")
                assert (await tx.trainings.get("t")).fence == found.fence + 1

    async with replicas[0].begin() as tx:
        await tx.trainings.add(training())
    await asyncio.gather(*(count(db) for db in replicas))
    async with replicas[0].read() as tx:
        assert (await tx.trainings.get("t")).fence == 60


async def test_readers_of_a_file_do_not_wait_for_a_writer(replicas: list[Database]) -> None:
    async with asyncio.timeout(20), replicas[0].begin() as tx:
        await tx.clients.add([client("a")])
        assert await ids(replicas[1]) == []


async def test_a_new_file_can_be_opened_by_several_processes_at_once(tmp_path: Path) -> None:
    for number in range(5):
        databases = [Database(f"sqlite+aiosqlite:///{tmp_path}/new-{number}.db") for _ in range(6)]

        async def touch(db: Database) -> None:
            async with db.begin() as tx:
                await tx.connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS touched (it INTEGER)")

        await asyncio.gather(*map(touch, databases))
        for database in databases:
            await database.dispose()


async def test_a_server_that_gives_no_connection_is_unavailable(postgres_url: str) -> None:
    db = Database(make_url(postgres_url).set(port=1).render_as_string(hide_password=False))
    with pytest.raises(DatabaseUnavailable):
        await ids(db)
    await db.dispose()


async def test_a_connection_that_the_server_ends_is_an_outage_and_the_next_one_works(postgres_url: str) -> None:
    db = Database(postgres_url)

    async def end() -> None:
        async with db.begin() as tx:
            await tx.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DBAPIError) as caught:
        await end()
    assert is_outage(caught.value)
    assert await ids(db) == []
    await db.dispose()


async def test_a_file_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    db = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/directory.db")
    with pytest.raises(DatabaseUnavailable, match="unable to open database file"):
        await ids(db)
    await db.dispose()


async def test_a_statement_that_fails_for_good_is_no_outage(db: Database) -> None:
    async def add_twice() -> None:
        async with db.begin() as tx:
            await tx.trainings.add(training())
            await tx.trainings.add(training())

    with pytest.raises(IntegrityError) as caught:
        await add_twice()
    assert not is_outage(caught.value)
    assert not is_outage(ArgumentError("a mistake of ours"))


async def test_whoever_stops_waiting_for_a_connection_leaves_nothing_behind(postgres_url: str) -> None:
    """A round goes on without its stragglers, and one of them may be on the way to the database, at any step."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    db = Database(postgres_url, pool_size=1)
    for steps in range(60):
        reading = asyncio.create_task(ids(db))
        for _ in range(steps):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
    assert await ids(db) == []
    await asyncio.wait_for(_without_connections(postgres_url, db), 20)
    gc.collect()
    assert problems == []


async def _without_connections(url: str, db: Database) -> None:
    """Dispose of `db`, and return when the server has no connection of its database any more."""
    await db.dispose()
    parts = make_url(url).set(drivername="postgresql")
    server = await asyncpg.connect(parts.set(database="postgres").render_as_string(hide_password=False))
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
    while await server.fetchval(count, parts.database):  # noqa: ASYNC110  (the server rings no bell)
        await asyncio.sleep(0.01)
    await server.close()


async def test_a_glance_reads_what_is_there_now_and_refuses_nothing_but_writes(db: Database) -> None:
    async with db.begin() as tx:
        await tx.clients.add([client("a")])
    async with db.glance() as tx:
        assert (await tx.clients.get("a")).id == "a"
    with pytest.raises(NotFound):
        async with db.glance() as tx:
            await tx.clients.get("b")
    assert await ids(db) == ["a"]  # the next transaction is a snapshot again


async def test_parties_take_turns_to_write_on_sqlite(sqlite_url: str) -> None:
    """However many transactions one training has waiting, another one's is next."""
    database, written = Database(sqlite_url), list[str]()

    async def write(name: str) -> None:
        async with database.begin():
            written.append(name)

    with party("crowd"):
        crowd = [asyncio.create_task(write("crowd")) for _ in range(8)]
    with party("small"):
        small = asyncio.create_task(write("small"))
    await asyncio.gather(*crowd, small)
    await database.dispose()
    assert written.index("small") <= 2
