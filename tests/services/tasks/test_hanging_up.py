"""Calls that are cancelled more than once: their connections are closed all the same."""

import asyncio

import pytest

from app.services.tasks.agents import AgentCaller
from app.services.tasks.bodies import TaskBody
from app.store.model_store import ModelStore
from tests.services.fakes import LOOPBACK, calling, endpoint, listening

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"
PATIENCE = 20.0


async def _cancelled(call: "asyncio.Task[object]", times: int) -> None:
    """Cancel a call in as many turns of the loop one after the other."""
    for _ in range(times):
        call.cancel()
        await asyncio.sleep(0)
    await asyncio.wait({call})


@pytest.mark.parametrize("times", range(1, 8))
@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"hel"], ids=["nothing", "a head", "a part"])
async def test_a_call_that_is_cancelled_again_and_again_hangs_up(sent: bytes, times: int, spool: ModelStore) -> None:
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def then(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        try:
            await reader.read()
        finally:
            hung_up.set()

    async def hand_over(agents: AgentCaller, url: str) -> object:
        return await agents.hand_over(endpoint(url), "t", TaskBody(b"head", memoryview(b"block")), spool)

    async with listening(sent, then) as peer, calling(**LOOPBACK) as agents, asyncio.timeout(PATIENCE):
        call = asyncio.create_task(hand_over(agents, peer.url))
        await asked.wait()
        await asyncio.sleep(0.01)  # in which what was sent arrives
        await _cancelled(call, times)
        await hung_up.wait()
