"""The log of what happened, on both databases."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select

from app.domain.events import Event
from app.domain.events.clients import ClientHealthy, ClientRemoved, ClientSuspect, ClientUpdated
from app.domain.events.rounds import ParticipationSkipped
from app.domain.events.trainings import TrainingCreated, TrainingStarted
from app.origins import ADMIN_KEY, SERVER, acting
from app.store.database import Database
from app.store.events import EventPage, RecordedEvent
from app.store.tables import events


async def append(db: Database, *appended: Event) -> None:
    for event in appended:
        async with db.begin() as tx:
            await tx.events.append(event)


async def page(db: Database, cursor: int = 0, *, limit: int = 100, **only: Any) -> EventPage:
    async with db.read() as tx:
        return await tx.events.after(cursor, limit=limit, **only)


async def clients(db: Database, cursor: int = 0, *, limit: int = 100, **only: Any) -> list[str | None]:
    return [event.client_id for event in (await page(db, cursor, limit=limit, **only)).items]


def removed(client_id: str) -> Event:
    return ClientRemoved(client_id=client_id)


async def test_an_event_comes_back_as_it_was_appended(db: Database) -> None:
    async with db.begin() as tx:
        with acting(ADMIN_KEY, request_id="r-1"):
            await tx.events.append(
                ParticipationSkipped(training_id="t", round=2, client_id="c", reason="no\x1b[0m answer\nü")
            )
        await tx.events.append(ClientUpdated(client_id="c", fields=("tags", "u\x00rl")))
    found = (await page(db)).items
    assert found == [
        RecordedEvent(
            id=1, at=found[0].at, type="participation.skipped", training_id="t", round=2, client_id="c",
            data={"reason": "no [0m answer ü"}, actor="admin key", request_id="r-1",
        ),
        RecordedEvent(
            id=2, at=found[0].at, type="client.updated", training_id=None, round=None, client_id="c",
            data={"fields": ["tags", "u rl"], "url": None, "was": None, "token_forgotten": False}, actor=SERVER,
        ),
    ]  # fmt: skip


async def test_the_time_of_events_is_the_databases_and_one_for_a_transaction(db: Database) -> None:
    async with db.begin() as tx:
        began = await tx.now()
        await tx.events.append(removed("a"))
        await _later(tx.now, began)
        written_after = await tx.now()
        await tx.events.append(removed("b"))
    async with db.read() as tx:
        ended = await tx.now()
    first, second = (await page(db)).items
    assert first.at == second.at
    assert began < written_after <= first.at <= ended


async def _later(now: Callable[[], Any], than: float) -> None:
    """Return once the database's clock has moved on, by more than it is read to."""
    while await now() < than + 0.002:
        pass


async def test_events_of_an_earlier_version_can_be_read(db: Database) -> None:
    row = {"at": 1.0, "type": "training.running", "training_id": "t", "data": {"was": "created"}}
    async with db.begin() as tx:
        await tx.connection.execute(insert(events).values(row))
    (event,) = (await page(db)).items
    assert (event.type, event.data, event.actor, event.request_id) == ("training.running", row["data"], None, None)


async def test_a_reader_goes_on_where_it_stopped(db: Database) -> None:
    await append(db, *map(removed, "abc"))
    first = await page(db, limit=2)
    assert ([event.client_id for event in first.items], first.more, first.cursor) == (["a", "b"], True, 2)
    rest = await page(db, first.cursor, limit=2)
    assert ([event.client_id for event in rest.items], rest.more, rest.cursor) == (["c"], False, 3)
    assert await page(db, rest.cursor) == EventPage([], more=False, cursor=3)


async def test_a_page_ends_where_it_has_enough_bytes(db: Database) -> None:
    await append(db, *(ClientUpdated(client_id=name, fields=("x" * 3000,)) for name in "abcde"))
    seen: list[str | None] = []
    cursor, more, sizes = 0, True, []
    while more:
        part = await page(db, cursor, most_bytes=6000)
        seen += [event.client_id for event in part.items]
        cursor, more = part.cursor, part.more
        sizes.append(len(part.items))
    assert (seen, sizes) == (list("abcde"), [2, 2, 1])


async def test_a_feed_holds_one_training_one_client_or_some_types(db: Database) -> None:
    await append(
        db,
        TrainingCreated(training_id="t", name="one"),
        TrainingCreated(training_id="u", name="two"),
        ClientSuspect(client_id="a", was="healthy"),
        ParticipationSkipped(training_id="t", round=1, client_id="a"),
        ParticipationSkipped(training_id="t", round=1, client_id="b"),
        ClientHealthy(client_id="a", was="suspect"),
    )

    async def ids(cursor: int = 0, **only: Any) -> list[int]:
        return [event.id for event in (await page(db, cursor, **only)).items]

    assert await ids() == [1, 2, 3, 4, 5, 6]
    assert await ids(training_id="t") == [1, 4, 5]
    assert await ids(1, training_id="t") == [4, 5]
    assert await ids(client_id="a") == [3, 4, 6]
    assert await ids(client_id="a", training_id="t") == [4]
    assert await ids(types=["client.suspect", "client.healthy"]) == [3, 6]
    assert await ids(types=["client.suspect", "client.healthy"], client_id="b") == []


async def test_a_reader_that_finds_little_does_not_look_at_the_same_events_again(db: Database) -> None:
    await append(db, TrainingStarted(training_id="t", was="created"), *map(removed, "abc"))
    found = await page(db, training_id="t")
    assert ([event.id for event in found.items], found.more, found.cursor) == ([1], False, 4)
    limited = await page(db, types=["client.removed"], limit=2)
    assert (limited.more, limited.cursor) == (True, 3)


async def test_a_cursor_never_goes_back(db: Database) -> None:
    assert await page(db, 7) == EventPage([], more=False, cursor=7)


async def test_a_transaction_that_rolls_back_leaves_no_event(db: Database) -> None:
    async def fail() -> None:
        async with db.begin() as tx:
            await tx.events.append(removed("never"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await clients(db) == []


async def test_a_reader_that_follows_the_cursor_misses_nothing_and_sees_nothing_twice(database_url: str) -> None:
    """Writers of several servers commit in another order than they append, and some roll back."""
    writers, each = 5, 8
    servers = [Database(database_url, pool_size=writers) for _ in range(2)]
    done = asyncio.Event()
    seen: list[RecordedEvent] = []

    async def fail(db: Database) -> None:
        async with db.begin() as tx:
            await tx.events.append(removed("never"))
            await tx.events.write()  # takes an id that no reader will see
            raise ZeroDivisionError

    async def write(writer: int) -> None:
        for number in range(each):
            with pytest.raises(ZeroDivisionError):
                await fail(servers[writer % 2])
            async with servers[writer % 2].begin() as tx:
                await tx.events.append(removed(f"{writer}.{number}"))
                await tx.events.append(TrainingStarted(training_id=f"{writer}.{number}", was="created"))
                await tx.events.write()
                for _ in range(3 * writer):  # the first one that has taken ids would not commit first
                    await tx.connection.exec_driver_sql("SELECT 1")

    async def follow() -> None:
        cursor, last = 0, False
        while not last:
            last = done.is_set()
            part = await page(servers[0], cursor, limit=3)
            seen.extend(part.items)
            assert part.cursor >= cursor
            cursor, last = part.cursor, last and not part.more

    async def write_all() -> None:
        await asyncio.gather(*(write(writer) for writer in range(writers)))
        done.set()

    async with asyncio.timeout(60):
        await asyncio.gather(follow(), write_all())
    expected = sorted(f"{writer}.{number}" for writer in range(writers) for number in range(each))
    assert sorted(event.client_id for event in seen if event.client_id is not None) == expected
    assert sorted(event.training_id for event in seen if event.training_id is not None) == expected
    assert [event.id for event in seen] == sorted({event.id for event in seen})
    for server in servers:
        await server.dispose()


async def test_ids_and_times_are_in_the_order_of_the_commits(postgres_url: str) -> None:
    db = Database(postgres_url)
    appended, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with db.begin() as tx:
            await tx.events.append(removed("appended-first"))
            appended.set()
            await go.wait()

    task = asyncio.create_task(slow())
    await appended.wait()
    await append(db, removed("committed-first"))
    assert await clients(db) == ["committed-first"]  # a reader has now seen every id up to this one's
    go.set()
    await task
    first, second = (await page(db)).items
    assert (first.client_id, second.client_id) == ("committed-first", "appended-first")
    assert first.at <= second.at
    await db.dispose()


async def test_a_writer_waits_for_the_commit_of_the_one_that_has_taken_ids(postgres_url: str) -> None:
    """A sequence gives ids at once: a reader would pass over those of a transaction that is not committed yet."""
    db = Database(postgres_url)
    async with db.begin() as tx:
        await tx.events.append(removed("first"))
        await tx.events.write()
        second = asyncio.create_task(append(db, removed("second")))
        done, _ = await asyncio.wait([second], timeout=0.2)
        assert not done
        assert await clients(db) == []
    await second
    assert await clients(db) == ["first", "second"]
    await db.dispose()


@pytest.mark.parametrize(
    ("before", "up_to", "left"),
    [
        (0.0, 0, [1, 2, 3, 4, 5]),
        (3.0, 0, [3, 4, 5]),
        (0.0, 2, [3, 4, 5]),
        (2.0, 3, [4, 5]),
        (4.0, 1, [4, 5]),
        (99.0, 0, [5]),  # the newest one stays
        (0.0, 99, [5]),
    ],
)
async def test_the_log_is_shortened_from_its_begin(db: Database, before: float, up_to: int, left: list[int]) -> None:
    async with db.begin() as tx:
        rows = [{"at": float(instant), "type": "client.removed", "data": {}} for instant in (1, 2, 3, 4, 5)]
        await tx.connection.execute(insert(events), rows)
    counts: list[int] = []
    while not counts or counts[-1] == 2:
        async with db.begin() as tx:
            counts.append(await tx.events.remove_oldest(before=before, up_to=up_to, limit=2))
    async with db.read() as tx:
        assert list((await tx.connection.execute(select(events.c.id).order_by(events.c.id))).scalars()) == left
    assert sum(counts) == 5 - len(left)
    await append(db, removed("next"))
    assert [event.id for event in (await page(db, 5)).items] == [6]


async def test_the_newest_event_is_known_by_its_id(db: Database) -> None:
    async with db.read() as tx:
        assert await tx.events.newest() == 0
    await append(db, *map(removed, "abc"))
    async with db.read() as tx:
        assert await tx.events.newest() == 3
