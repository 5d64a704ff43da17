"""Several jobs at once, and how they end."""

import asyncio
import gc
from typing import Any

import pytest

from app.clock import SystemClock
from app.services.rounds.gathering import gather
from app.store.leases import Fenced


async def test_of_several_errors_one_is_raised_and_none_is_left_behind() -> None:
    """An owner that has lost its lease finds it out in many jobs at once."""
    left_behind: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: left_behind.append(context))
    instant = asyncio.Event()

    async def fenced() -> float:
        await instant.wait()
        raise Fenced("training")

    asyncio.get_running_loop().call_soon(instant.set)
    with pytest.raises(Fenced):
        await gather(
            [fenced(), fenced(), fenced()], clock=SystemClock(), goal=3, quorum=3, deadline=1e12, grace_seconds=0.0
        )
    gc.collect()
    await asyncio.sleep(0)
    assert left_behind == []
