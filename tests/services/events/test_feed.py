"""Readers who follow the log of events as it is written.

Covers: app.services.events.feed
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.domain.events.clients import ClientRemoved
from app.services.events import feed as feeds
from app.services.events.feed import EventFeed, EventFilter, TooManyReaders
from app.store.database import Database
from app.store.events import EventPage, RecordedEvent

SOON = 30.0  # s; a test that waits longer has failed


@asynccontextmanager
async def running(db: Database, *, places: int = 8) -> AsyncIterator[EventFeed]:
    feed = EventFeed(db, places=places)
    loop = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        loop.cancel()
        await asyncio.wait([loop])


async def write(db: Database, *names: str) -> None:
    async with db.begin() as tx:
        for name in names:
            await tx.events.append(ClientRemoved(client_id=name))


def names(page: EventPage) -> list[str | None]:
    return [event.client_id for event in page.items]


async def follow(feed: EventFeed, count: int, only: EventFilter = feeds.ALL, after: int = 0) -> list[int]:
    """The ids of the next events, read with small pages as a slow reader does."""
    found: list[int] = []
    with feed.place("reader"):
        async with asyncio.timeout(SOON):
            while len(found) < count:
                page = await feed.page(after=after, limit=3, only=only, seconds=SOON)
                found += [event.id for event in page.items]
                after = page.cursor
    return found


async def test_a_reader_that_waits_gets_an_event_when_it_is_written(db: Database) -> None:
    async with running(db) as feed:
        with feed.place("a"):
            waiting = asyncio.create_task(feed.page(after=0, limit=10, seconds=SOON))
            await asyncio.sleep(0)
            assert not waiting.done()
            await write(db, "x")
            page = await waiting
    assert names(page) == ["x"]
    assert (page.cursor, page.more) == (1, False)


async def test_readers_get_every_event_once_however_they_are_behind(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "REMEMBERED", 10)
    monkeypatch.setattr(feeds, "BATCH", 4)
    await write(db, *(f"old-{number}" for number in range(7)))
    async with running(db) as feed, asyncio.TaskGroup() as group:
        from_the_start = group.create_task(follow(feed, 47))
        late = group.create_task(follow(feed, 40, after=7))
        for part in range(8):
            await write(db, *(f"new-{part}-{number}" for number in range(5)))
            await asyncio.sleep(0)
    assert from_the_start.result() == list(range(1, 48))
    assert late.result() == list(range(8, 48))


async def test_a_reader_that_comes_after_a_time_without_readers_misses_nothing(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "REMEMBERED", 5)
    async with running(db) as feed:
        await write(db, "a")
        assert await follow(feed, 1) == [1]
        await write(db, *"bcdefghijk")  # more than are remembered, while there is no reader
        assert await follow(feed, 10, after=1) == list(range(2, 12))


async def test_an_event_is_seen_also_after_the_last_reader_has_left(sqlite: Database) -> None:
    async with running(sqlite) as feed:
        await write(sqlite, "a")
        assert await follow(feed, 1) == [1]
        await write(sqlite, "b")
        async with asyncio.timeout(SOON):
            while names(await feed.page(after=0, limit=10)) != ["a", "b"]:  # noqa: ASYNC110  (the loop tells nobody)
                await asyncio.sleep(0.01)


async def test_readers_who_are_behind_share_reads_and_leave_connections_to_others(sqlite_url: str) -> None:
    reads: list[str] = []
    db = Database(sqlite_url, pool_size=5, on_end=lambda kind, _seconds: reads.append(kind))
    try:
        feed = EventFeed(db, places=30)
        await write(db, *(f"c{number}" for number in range(30)))
        reads.clear()
        alike = await asyncio.gather(*(feed.page(after=0, limit=30) for _ in range(30)))
        assert [len(page.items) for page in alike] == [30] * 30
        assert reads == ["read"]
        different = asyncio.gather(*(feed.page(after=number, limit=30) for number in range(30)))
        most = 0
        while not different.done():
            await asyncio.sleep(0)
            most = max(most, db.connections()[0])
        assert [len(page.items) for page in different.result()] == list(range(30, 0, -1))
        assert most == feeds.PAST_READS
    finally:
        await db.dispose()


async def test_a_filter_leaves_out_what_a_reader_does_not_want(db: Database) -> None:
    async with running(db) as feed:
        only = EventFilter(client_id="b")
        wanted = asyncio.create_task(follow(feed, 2, only))
        await write(db, "a", "b", "c")
        await write(db, "a", "b")
        assert await wanted == [2, 5]
        assert names(await feed.page(after=0, limit=10, only=EventFilter(types=frozenset({"round.started"})))) == []
        assert names(await feed.page(after=0, limit=10, only=EventFilter(training_id="t"))) == []


def test_an_event_matches_a_filter_if_all_that_it_names_is_the_same() -> None:
    event = RecordedEvent(id=1, at=0.0, type="round.started", training_id="t", round=1, client_id="c", data={})
    assert EventFilter.matches(feeds.ALL, event)
    for only in (EventFilter("t"), EventFilter("t", "c"), EventFilter(types=frozenset({"round.started", "x"}))):
        assert only.matches(event)
    for only in (EventFilter("c"), EventFilter("t", "t"), EventFilter("t", "c", frozenset({"x"}))):
        assert not only.matches(event)


async def test_a_wait_ends_without_an_event(sqlite: Database) -> None:
    async with running(sqlite) as feed:
        with feed.place("a"):
            page = await feed.page(after=0, limit=10, seconds=0.01)
    assert (page.items, page.cursor, page.more) == ([], 0, False)


async def test_a_server_that_stops_ends_all_waits(sqlite: Database) -> None:
    async with running(sqlite) as feed, asyncio.timeout(SOON):
        with feed.place("a"):
            waiting = asyncio.create_task(feed.page(after=0, limit=10, seconds=SOON))
            await asyncio.sleep(0)
            feed.stop()
            assert (await waiting).items == []
            assert (await feed.page(after=0, limit=10, seconds=SOON)).items == []


async def test_places_are_shared_between_parties(sqlite: Database) -> None:
    counts: list[int] = []
    feed = EventFeed(sqlite, places=8, note=counts.append)
    with feed.place("b"):
        assert counts == [1]
        with pytest.raises(TooManyReaders, match="TCSFEEL_LIMITS__STREAMS"):
            _take(feed, 9)
    assert (counts[-1], max(counts)) == (0, 8)


def _take(feed: EventFeed, count: int) -> None:
    """Take places for one party, one inside the other."""
    if count:
        with feed.place("a"):
            _take(feed, count - 1)


async def test_nobody_asks_the_database_while_there_are_no_readers(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    async with running(sqlite) as feed:
        newest = feed.newest

        async def counted() -> int:
            nonlocal asked
            asked += 1
            return await newest()

        monkeypatch.setattr(feed, "newest", counted)
        monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert asked == 0
        await write(sqlite, "a")
        assert await follow(feed, 1) == [1]
        assert asked > 0


async def test_other_work_goes_on_while_many_readers_are_told_of_an_event(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "WOKEN", 1)
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.0)
    order: list[str] = []

    async def read() -> None:
        await feed.page(after=0, limit=10, seconds=SOON)
        order.append("reader")

    async def other() -> None:
        while order.count("reader") < 3:
            order.append("other")
            await asyncio.sleep(0)

    async with running(sqlite) as feed, asyncio.TaskGroup() as group, asyncio.timeout(SOON):
        with feed.place("a"):
            reading = [group.create_task(read()) for _ in range(3)]
            group.create_task(other())
            await asyncio.sleep(0)
            await write(sqlite, "x")
            await asyncio.wait(reading)
    first = order.index("reader")
    assert order[first : first + 5] == ["reader", "other", "reader", "other", "reader"]


async def test_readers_are_woken_only_by_new_events(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.0)
    await write(sqlite, "x")
    async with running(sqlite) as feed, asyncio.timeout(SOON):
        with feed.place("a"):
            await feed.page(after=0, limit=10, seconds=SOON)
            woken, looked, look = 0, 0, feed.newest
            wake = feed._wake

            async def newest() -> int:
                nonlocal looked
                looked += 1
                return await look()

            def counted(waiting: Iterable[asyncio.Future[None]]) -> None:
                nonlocal woken
                woken += 1
                wake(waiting)

            monkeypatch.setattr(feed, "newest", newest)
            monkeypatch.setattr(feed, "_wake", counted)
            waiting = asyncio.create_task(feed.page(after=1, limit=10, seconds=SOON))
            while looked < 5:  # noqa: ASYNC110  (a look rings no bell)
                await asyncio.sleep(0)
            assert woken == 0
            await write(sqlite, "y")
            assert names(await waiting) == ["y"]
            assert woken == 1


async def test_who_writes_while_a_read_of_old_events_is_made_does_not_share_it(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, began, goes_on = EventFeed(db, places=8), asyncio.Event(), asyncio.Event()
    real = feed._log.page

    async def slow(**given: Any) -> EventPage:
        found = await real(**given)
        began.set()
        await goes_on.wait()
        return found

    monkeypatch.setattr(feed._log, "page", slow)
    first = asyncio.create_task(feed.page(after=0, limit=10))
    await began.wait()
    await write(db, "x")
    second = asyncio.create_task(feed.page(after=0, limit=10))
    goes_on.set()
    assert [names(await one) for one in (first, second)] == [[], ["x"]]


async def test_a_read_that_fails_after_its_readers_have_left_is_no_unexpected_error(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, fails, unexpected = EventFeed(db, places=8), asyncio.Event(), list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: unexpected.append(told))

    async def failing(**_given: Any) -> EventPage:
        await fails.wait()
        raise OSError("the database is gone")

    monkeypatch.setattr(feed._log, "page", failing)
    reader = asyncio.create_task(feed.page(after=0, limit=10))
    await asyncio.sleep(0.01)
    reader.cancel()
    await asyncio.wait([reader])
    fails.set()
    await asyncio.sleep(0.01)
    gc.collect()
    assert unexpected == []
