"""A Postgres that vanishes without a word, that is slow, or that has no connection left."""

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app.store import postgres
from app.store.availability import DatabaseUnavailable, NoAnswer, NoFreeConnection, TooManyConnections
from app.store.database import Database, is_outage
from tests.links import Link, link
from tests.roles import Role
from tests.store.samples import client

SHORT = 0.3  # s that a statement, or a wait for a connection, may take here
LIMIT = 30.0  # s after which a test that hangs is given up


@pytest.fixture
async def far(postgres_url: str) -> AsyncIterator[tuple[Link, Database]]:
    """A database behind a link that may fall silent."""
    async with link(postgres_url) as (way, url):
        db = Database(url, pool_size=2, statement_seconds=SHORT)
        yield way, db
        async with asyncio.timeout(LIMIT):
            await db.dispose()


async def ids(db: Database) -> list[str]:
    async with db.read() as tx:
        return await tx.clients.ids()


async def first(db: Database) -> str:
    async with db.begin() as tx:
        return str((await tx.connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def test_a_connection_that_fell_silent_is_an_outage_and_gone(far: tuple[Link, Database]) -> None:
    way, db = far
    await asyncio.gather(ids(db), ids(db))
    way.fall_silent()
    async with asyncio.timeout(LIMIT):
        with pytest.raises(NoAnswer) as caught:
            await ids(db)
        assert is_outage(caught.value)
        with pytest.raises(DatabaseUnavailable):  # no new one can be had either
            await ids(db)
        way.recover()
        assert await ids(db) == []


async def test_idle_connections_are_closed_after_one_that_fell_silent(far: tuple[Link, Database]) -> None:
    way, db = far
    async with db.read() as one, db.read() as other:
        await asyncio.gather(one.clients.ids(), other.clients.ids())
    assert db.connections() == (0, 2)
    way.fall_silent()
    async with asyncio.timeout(LIMIT):
        with pytest.raises(NoAnswer):
            await ids(db)
        way.recover()
        async with db.read() as one, db.read() as other:
            assert not any(await asyncio.gather(one.clients.ids(), other.clients.ids()))


@pytest.mark.parametrize("step", ["statement", "commit", "error", "cancelled"])
async def test_a_transaction_ends_when_the_database_falls_silent_in_it(step: str, far: tuple[Link, Database]) -> None:
    way, db = far

    async def write() -> None:
        async with db.begin() as tx:
            await tx.clients.add([client("a")])
            way.fall_silent()
            if step == "statement":
                await tx.clients.ids()
            elif step == "error":
                raise ZeroDivisionError
            elif step == "cancelled":
                async with asyncio.timeout(0):
                    await tx.clients.ids()

    ends: dict[str, type[Exception] | tuple[type[Exception], ...]] = {
        "statement": NoAnswer,
        "commit": NoAnswer,
        "error": (NoAnswer, ZeroDivisionError),
        "cancelled": TimeoutError,
    }
    async with asyncio.timeout(LIMIT):
        with pytest.raises(ends[step]):
            await write()
        way.recover()
        assert await ids(db) == []


async def test_a_stop_does_not_wait_for_a_silent_database(far: tuple[Link, Database]) -> None:
    way, db = far
    await asyncio.gather(ids(db), ids(db))
    in_it = asyncio.Event()

    async def hold() -> None:
        async with db.begin() as tx:
            await tx.clients.ids()
            in_it.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await in_it.wait()
    way.fall_silent()
    async with asyncio.timeout(LIMIT):
        await db.dispose()
        task.cancel()
        await asyncio.wait([task])


async def test_a_statement_that_is_slow_is_ended_by_the_server_and_its_connection_stays(postgres_url: str) -> None:
    db = Database(postgres_url, pool_size=1, statement_seconds=2.0)
    process = await first(db)
    with pytest.raises(Exception, match="statement timeout") as caught:
        async with db.begin() as tx:
            await tx.connection.execute(text("SELECT pg_sleep(60)"))
    assert is_outage(caught.value)
    assert await first(db) == process
    await db.dispose()


async def test_a_session_knows_its_limits_on_the_server(postgres_url: str) -> None:
    db = Database(postgres_url)
    names = ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]
    async with db.begin() as tx:
        shown = [(await tx.connection.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
    assert shown == ["8s", "10s", "1min"]
    await db.dispose()


async def test_a_caller_waits_for_a_connection_no_longer_than_told(postgres_url: str) -> None:
    refusals: Counter[str] = Counter()
    db = Database(postgres_url, pool_size=1, wait_seconds=SHORT, on_refusal=lambda reason: refusals.update([reason]))
    async with db.begin() as tx:
        await tx.clients.ids()
        with pytest.raises(NoFreeConnection, match=r"no connection was free for 0\.3 s") as caught:
            await ids(db)
        assert db.connections() == (1, 0)
    assert is_outage(caught.value)
    assert refusals == {"busy": 1}
    assert await ids(db) == []
    assert db.connections() == (0, 1)
    await db.dispose()


async def test_a_writer_of_a_file_waits_for_its_turn_no_longer_than_told(sqlite_url: str) -> None:
    db = Database(sqlite_url, wait_seconds=SHORT)

    async def write(name: str) -> None:
        async with db.begin() as tx:
            await tx.clients.add([client(name)])

    async with db.begin():
        with pytest.raises(NoFreeConnection):
            await write("a")
    await write("b")
    assert await ids(db) == ["b"]
    await db.dispose()


@pytest.fixture
async def crowded(postgres_url: str) -> AsyncIterator[Role]:
    """Somebody who may have one connection."""
    async with Role.made(
        postgres_url, "ALTER ROLE {} CONNECTION LIMIT 1", "GRANT ALL ON ALL TABLES IN SCHEMA public TO {}"
    ) as role:
        yield role


async def test_where_the_server_has_no_more_connections_one_of_ours_does(crowded: Role) -> None:
    db = Database(crowded.url, pool_size=5)
    assert await asyncio.gather(*(ids(db) for _ in range(20))) == [[]] * 20
    assert db.connections() == (0, 1)
    await db.dispose()


async def test_a_server_that_is_full_is_named_and_left_alone_for_a_while(crowded: Role) -> None:
    refusals: Counter[str] = Counter()
    holder = Database(crowded.url)
    db = Database(crowded.url, wait_seconds=SHORT, on_refusal=lambda reason: refusals.update([reason]))
    async with holder.begin() as tx:
        await tx.clients.ids()
        with pytest.raises(TooManyConnections) as caught:
            await ids(db)
        assert is_outage(caught.value)
        assert "raise max_connections" in caught.value.finding
    await holder.dispose()
    assert refusals == {"too_many_connections": 1}
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                assert await ids(db) == []
                break
            except TooManyConnections:
                continue
    await db.dispose()


async def test_a_refused_server_is_asked_in_growing_steps(crowded: Role) -> None:
    now = 0.0
    connector = postgres.Connector(lambda: now)
    where: dict[str, Any] = make_url(crowded.url).translate_connect_args(username="user")
    held = await connector(**where)
    asked: list[float] = []
    for step in range(200):
        now = step * 0.1
        with pytest.raises(asyncpg.TooManyConnectionsError) as caught:
            await connector(**where)
        if "a moment ago" not in str(caught.value):
            asked.append(round(now, 1))
    assert asked == [0.0, 0.3, 0.8, 1.8, 3.8, 7.8, 12.8, 17.8]  # pauses of 0.25, 0.5, 1, 2, 4, 5, 5 s
    await held.close()
    now = 100.0
    await (await connector(**where)).close()


async def test_a_connection_that_was_idle_for_long_is_not_used_again(postgres_url: str) -> None:
    """Half of the time after which the server closes it: it must not do that while we send the first statement."""
    now = 0.0
    engine = postgres.engine(
        postgres_url, postgres.Connector(lambda: now), pool_size=2, wait_seconds=5.0, statement_seconds=10.0
    )
    seen: list[int] = []
    for instant in (0.0, 29.0, 58.0, 89.0):
        now = instant
        async with engine.connect() as connection:
            seen.append((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
    assert seen[0] == seen[1] == seen[2] != seen[3]
    await engine.dispose()


async def test_a_goodbye_is_not_cut_short(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The connection by which asyncpg calls a statement off left an error in a future, and asyncio logged that."""
    where = make_url(postgres_url)
    connector = postgres.Connector()
    for moment in range(20):
        connection = await connector(
            user=where.username, password=where.password, host=where.host, port=where.port, database=where.database
        )
        statement = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0)
        statement.cancel()
        await asyncio.wait({statement})
        goodbye = asyncio.create_task(connection.close())
        for _ in range(moment):
            await asyncio.sleep(0)
        connection.terminate()  # as SQLAlchemy does where a caller is cancelled once more
        async with asyncio.timeout(LIMIT):
            await goodbye
        assert connection.is_closed()
    gc.collect()
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
