"""Bodies that arrive slowly."""

import asyncio
import re
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import Request

from app.http.bodies import TooSlow, bounded
from app.memory import BodyMemory
from tcsfeel.inbound import Pace

LARGE = 16_000_000
SHORT = 0.02


def body_of(*messages: Any) -> Any:
    """What a server receives of a request: these messages, and then nothing for ever."""
    left = list(messages)

    async def receive() -> Any:
        if left:
            return left.pop(0)
        return await asyncio.Event().wait()

    return receive


def request_of(*messages: Any, pace: Pace) -> tuple[Request, ExitStack]:
    stack = ExitStack()
    held = stack.enter_context(BodyMemory(LARGE).holding("here", LARGE))
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, body_of(*messages))
    return bounded(request, LARGE, held, pace), stack


def piece(size: int, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


@pytest.mark.parametrize("sent", [0, 1_000_000])
async def test_a_body_that_stops_is_refused_however_much_of_it_came(sent: int) -> None:
    request, stack = request_of(piece(sent), pace=Pace(SHORT, 1000.0))
    said = "the body arrives too slowly: it may pause for 0.02 s, and must then send at least 1000 bytes a second"
    with stack, pytest.raises(TooSlow, match=re.escape(said)):
        await request.body()


async def test_a_caller_who_waits_for_its_answer_is_not_slow() -> None:
    request, stack = request_of(piece(3, more=False), pace=Pace(SHORT, 1000.0))
    with stack:
        assert await request.body() == b"xxx"
        leaving = asyncio.ensure_future(request.receive())  # the message that it has hung up
        await asyncio.wait([leaving], timeout=4 * SHORT)
        assert not leaving.done()
        leaving.cancel()
