"""Listen to notices of other servers on Postgres, over a connection that does nothing else.

A notice is only a hint. It may get lost, for example when the connection breaks or a pooler is in between, so every
listener looks by itself from time to time as well.
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

AGAIN_SECONDS = 5.0  # after the connection broke


async def listen(url: URL, channel: str, heard: Callable[[], None]) -> None:
    """Call `heard` for each notice, until cancelled. On SQLite there is only one server, and this returns at once."""
    if url.get_backend_name() != "postgresql":
        return
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        while True:
            with suppress(OSError, SQLAlchemyError, PostgresError, InterfaceError):
                async with engine.connect() as connection:
                    driver = (await connection.get_raw_connection()).driver_connection
                    await _listen(driver, channel, heard)
            await asyncio.sleep(AGAIN_SECONDS)
    finally:
        await engine.dispose()


async def _listen(driver: Any, channel: str, heard: Callable[[], None]) -> None:
    broken = asyncio.Event()
    driver.add_termination_listener(lambda _: broken.set())
    await driver.add_listener(channel, lambda *_: heard())
    heard()  # of what was missed until now
    await broken.wait()
