"""The log of what happened, on both databases."""

import asyncio

import pytest

from app.store.database import Database
from app.store.events import Event
from tests.store.samples import NOW


async def append(db: Database, event_type: str, training_id: str | None = None) -> None:
    async with db.begin() as tx:
        await tx.events.append(event_type, NOW, training_id=training_id)


async def types(db: Database, event_id: int = 0, *, training_id: str | None = None, limit: int = 100) -> list[str]:
    async with db.read() as tx:
        return [event.type for event in await tx.events.after(event_id, training_id=training_id, limit=limit)]


async def test_an_event_comes_back_as_it_was_appended(db: Database) -> None:
    async with db.begin() as tx:
        await tx.events.append("one", NOW, training_id="t", round_number=2, client_id="c", text="ü", none=None, n=[1.5])
        await tx.events.append("two", NOW + 1)
    async with db.read() as tx:
        assert await tx.events.after(0, training_id=None, limit=10) == [
            Event(
                id=1, at=NOW, type="one", training_id="t", round=2, client_id="c",
                data={"text": "ü", "none": None, "n": [1.5]},
            ),
            Event(id=2, at=NOW + 1, type="two", training_id=None, round=None, client_id=None, data={}),
        ]  # fmt: skip


async def test_a_reader_goes_on_where_it_stopped(db: Database) -> None:
    for name in ("a", "b", "c"):
        await append(db, name)
    assert await types(db, limit=2) == ["a", "b"]
    assert await types(db, 2) == ["c"]
    assert await types(db, 3) == []


async def test_a_feed_holds_one_training_or_all(db: Database) -> None:
    for name, training_id in (("a", "t"), ("b", None), ("c", "u"), ("d", "t")):
        await append(db, name, training_id)
    assert await types(db, training_id="t") == ["a", "d"]
    assert await types(db, 1, training_id="t") == ["d"]
    assert await types(db) == ["a", "b", "c", "d"]


async def test_a_transaction_that_rolls_back_leaves_no_event(db: Database) -> None:
    async def fail() -> None:
        async with db.begin() as tx:
            await tx.events.append("never", NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await types(db) == []


async def test_a_reader_that_follows_the_ids_misses_nothing_of_many_writers(db: Database) -> None:
    count, writers = 40, 5
    seen: list[str] = []

    async def write(writer: int) -> None:
        for number in range(count // writers):
            async with db.begin() as tx:
                await tx.events.append(f"{writer}.{number}", NOW)
                await tx.connection.exec_driver_sql("SELECT 1")  # whoever appends first need not commit first

    async def follow() -> None:
        last = 0
        while len(seen) < count:
            async with db.read() as tx:
                for event in await tx.events.after(last, training_id=None, limit=3):
                    last = event.id
                    seen.append(event.type)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for writer in range(writers):
            group.create_task(write(writer))
    assert sorted(seen) == sorted(f"{writer}.{number}" for writer in range(writers) for number in range(8))


async def test_ids_are_in_the_order_of_the_commits(postgres_url: str) -> None:
    db = Database(postgres_url)
    appended, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with db.begin() as tx:
            await tx.events.append("appended first, committed last", NOW)
            appended.set()
            await go.wait()

    task = asyncio.create_task(slow())
    await appended.wait()
    await append(db, "appended last, committed first")
    assert await types(db) == ["appended last, committed first"]  # a reader has now seen every id up to this one's
    go.set()
    await task
    assert await types(db) == ["appended last, committed first", "appended first, committed last"]
    await db.dispose()
