"""Connections to agents that are kept for the next call: for which call, how many, and until when.

Covers: app.services.tasks.connections
"""

import asyncio
import contextlib

from app.services.tasks.connections import PROBE_CONNECTIONS
from app.services.tasks.replies import Reply
from app.store.model_store import ModelStore
from tests.services.asking import HELLO, failure, hand_over, poll
from tests.services.fakes import HERE, LOOPBACK, answering, calling, endpoint, listening, reply


async def test_an_agents_connection_is_kept_from_one_round_to_the_next(spool: ModelStore) -> None:
    working = reply("202 Accepted", connection="")
    async with listening(working, answering(working)) as peer, calling(**LOOPBACK) as agents:
        agent = endpoint(peer.url)
        for _ in range(2):
            assert await hand_over(agents, spool, agent) == Reply("working")
            assert await poll(agents, spool, agent) == Reply("working")
            await agents.forget(agent, "t.1.a.fit")
        assert peer.connections == 1


async def test_a_connection_is_kept_after_a_result_was_read_to_its_end(spool: ModelStore) -> None:
    result = reply("200 OK", b"hello", connection="")
    async with listening(result, answering(result)) as peer, calling(**LOOPBACK) as agents:
        for _ in range(3):
            assert (await poll(agents, spool, endpoint(peer.url))).file == HELLO
    assert peer.connections == 1


async def test_connections_of_a_burst_fall_idle(spool: ModelStore) -> None:
    used: list[int] = []
    crowd = asyncio.Barrier(3)
    served: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                used.append(writer.get_extra_info("peername")[1])
                if len(used) <= crowd.parties:
                    await crowd.wait()
                writer.write(reply("202 Accepted", connection=""))
        writer.close()

    server = await asyncio.start_server(answer, HERE, 0)
    agent = endpoint(f"http://{HERE}:{server.sockets[0].getsockname()[1]}")
    async with server, asyncio.timeout(20):
        async with calling(**LOOPBACK) as agents:
            await asyncio.gather(*(poll(agents, spool, agent) for _ in range(crowd.parties)))
            for _ in range(4):
                await poll(agents, spool, agent)
        await asyncio.gather(*filter(None, served))
    assert len(set(used[:3])) == 3
    assert len(set(used[3:])) == 1  # of the three, two are used no more, so that they can be closed


async def test_an_answer_that_nobody_asked_for_is_not_that_of_another_agent(spool: ModelStore) -> None:
    """Two agents listen on one port. The first one also answers the next request over its connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if peer.requests[-1].startswith(b"GET /hostile/"):
            writer.write(reply("202 Accepted", connection=""))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply("200 OK", b"hello"))
        else:
            writer.write(reply("503 Service Unavailable"))

    async with listening(then=answer) as peer, calling(**LOOPBACK) as agents:
        assert await poll(agents, spool, endpoint(f"{peer.url}/hostile")) == Reply("working")
        assert "503" in await failure(poll(agents, spool, endpoint(f"{peer.url}/broken")))


async def test_the_connections_that_are_idle_longest_make_room_for_others(spool: ModelStore) -> None:
    working = reply("202 Accepted", connection="")
    most = PROBE_CONNECTIONS + 1
    async with listening(working, answering(working)) as peer, calling(concurrency=1, **LOOPBACK) as agents:
        for number in range(most + 1):
            await poll(agents, spool, endpoint(f"{peer.url}/{number}"))
        await poll(agents, spool, endpoint(f"{peer.url}/1"))
        assert peer.connections == most + 1
        await poll(agents, spool, endpoint(f"{peer.url}/0"))
        assert peer.connections == most + 2
