"""Listen to notices of other servers on Postgres, over a connection that does nothing else.

A notice is only a hint. It may get lost, for example when the connection breaks or a pooler is in between, so every
listener looks by itself from time to time as well. A connection whose other side vanished without a word is noticed by
a question now and then, and no end of a listener waits for it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.store.postgres import Connector

AGAIN_SECONDS = 5.0  # after the connection broke
QUESTION_SECONDS = 30.0  # between two questions whether the other side is still there
ANSWER_SECONDS = 5.0  # that connecting or an answer may take


async def listen(url: URL, channel: str, heard: Callable[[], None]) -> None:
    """Call `heard` for each notice, until cancelled. On SQLite there is only one server, and this returns at once."""
    if url.get_backend_name() != "postgresql":
        return
    limits = {"timeout": ANSWER_SECONDS, "command_timeout": ANSWER_SECONDS, "async_creator_fn": Connector()}
    engine = create_async_engine(url, poolclass=NullPool, connect_args=limits)
    try:
        while True:
            with suppress(OSError, SQLAlchemyError, PostgresError, InterfaceError):
                async with engine.connect() as connection:
                    try:
                        driver = (await connection.get_raw_connection()).driver_connection
                        await _listen(driver, channel, heard)
                    finally:
                        await connection.invalidate()  # otherwise it would wait for a rollback
            await asyncio.sleep(AGAIN_SECONDS)
    finally:
        await engine.dispose()


async def _listen(driver: Any, channel: str, heard: Callable[[], None]) -> None:
    broken = asyncio.Event()
    driver.add_termination_listener(lambda _: broken.set())
    await driver.add_listener(channel, lambda *_: heard())
    heard()  # of what was missed until now
    while not broken.is_set():
        try:
            async with asyncio.timeout(QUESTION_SECONDS):
                await broken.wait()
        except TimeoutError:
            await driver.execute("SELECT 1")
