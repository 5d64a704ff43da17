"""Listening to notices of Postgres, over a connection that may break or fall silent.

Covers: app.store.notices
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app.store import notices
from app.store.database import Database
from tests.links import link

CHANNEL = "noticed"
LIMIT = 60.0  # s after which a test that hangs is given up


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[asyncio.Event]:
    """Listen in the block. The event is set once the connection listens, and at each notice."""
    heard = asyncio.Event()
    task = asyncio.create_task(notices.listen(make_url(url), CHANNEL, heard.set))
    try:
        async with asyncio.timeout(LIMIT):
            await heard.wait()
        heard.clear()
        yield heard
    finally:
        task.cancel()
        async with asyncio.timeout(LIMIT):
            await asyncio.wait([task])


async def notify(url: str) -> None:
    db = Database(url, pool_size=1)
    async with db.begin() as tx:
        await tx.connection.execute(text(f"NOTIFY {CHANNEL}"))
    await db.dispose()


async def test_a_notice_is_heard(postgres_url: str) -> None:
    async with listening(postgres_url) as heard, asyncio.timeout(LIMIT):
        await notify(postgres_url)
        await heard.wait()


async def test_a_listener_to_a_silent_database_ends_when_it_is_told(postgres_url: str) -> None:
    async with link(postgres_url) as (way, url), listening(url):
        way.fall_silent()


async def test_a_listener_connects_again_after_the_other_side_vanished(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUESTION_SECONDS", "ANSWER_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(notices, name, 0.3)
    async with link(postgres_url) as (way, url), listening(url) as heard, asyncio.timeout(LIMIT):
        way.fall_silent()
        await asyncio.sleep(0.1)
        way.recover()
        await heard.wait()  # of what was missed
        heard.clear()
        await notify(postgres_url)
        await heard.wait()


async def test_there_is_nothing_to_listen_to_on_sqlite(sqlite_url: str) -> None:
    async with asyncio.timeout(LIMIT):
        await notices.listen(make_url(sqlite_url), CHANNEL, lambda: None)
