"""Wait on behalf of a caller, but not longer than the caller does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def unless_gone(work: Coroutine[Any, Any, Result], departure: Callable[[], Coroutine[Any, Any, None]]) -> Result:
    """Return what `work` returns. If the caller hangs up before, cancel it, and raise what `departure` raises."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(departure())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await leaving
        return await working
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
