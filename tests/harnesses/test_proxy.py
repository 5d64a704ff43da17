"""The proxy breaks calls in each of its ways, and records them."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from tests.harnesses.proxy import Call, Mode, Proxy, Weather

BODY = b"0123456789" * 100


@asynccontextmanager
async def behind(mode: Mode) -> AsyncIterator[tuple[httpx2.AsyncClient, list[Call], Proxy]]:
    """A client of a small server behind a proxy in this mode."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        writer.close()

    record: list[Call] = []
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = Proxy("c-0", server.sockets[0].getsockname()[:2], random.Random(1), record)  # noqa: S311  (chance)
    await proxy.set_mode(mode)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}", trust_env=False, timeout=10) as client:
            yield client, record, proxy
    finally:
        await proxy.close()
        server.close()


async def test_a_proxy_that_is_clear_changes_nothing_and_keeps_a_record() -> None:
    async with behind("pass") as (client, record, _):
        for path in ("/a", "/b"):
            assert (await client.get(path)).content == BODY
    assert [(call.method, call.path, call.flipped) for call in record] == [("GET", "/a", None), ("GET", "/b", None)]
    assert all(call.ended is not None and call.ended >= call.began for call in record)


@pytest.mark.parametrize("mode", ["refuse", "reset", "cut"])
async def test_a_proxy_breaks_off(mode: Mode) -> None:
    async with behind(mode) as (client, record, _):
        with pytest.raises(httpx2.TransportError):
            await client.get("/a")
    assert len(record) == (0 if mode == "refuse" else 1)


@pytest.mark.parametrize("mode", ["refuse", "reset", "hang", "pass"])
async def test_a_call_on_a_kept_connection_that_is_reset_unanswered_may_be_repeated(mode: Mode) -> None:
    """The first call on a connection may not be repeated: a caller cannot assume that it was closed meanwhile."""
    async with behind(mode) as (client, record, proxy):
        await proxy.set_mode("pass")
        await client.get("/first")
        await proxy.set_mode("hang" if mode == "refuse" else mode)
        call = asyncio.create_task(client.get("/again", timeout=None if mode == "refuse" else 0.5))
        while len(record) < 2:  # noqa: ASYNC110  (the record rings no bell)
            await asyncio.sleep(0.001)
        await proxy.set_mode(mode)
        await asyncio.gather(call, return_exceptions=True)
        await proxy.set_mode("pass")
        await proxy.set_mode("reset")
        with pytest.raises(httpx2.TransportError):
            await client.get("/new")
    repeatable = mode in {"refuse", "reset"}
    assert [call.repeatable for call in record] == [False, repeatable, mode == "pass"]


async def test_a_proxy_hangs() -> None:
    async with behind("hang") as (client, record, _):
        with pytest.raises(httpx2.ReadTimeout):
            await client.get("/a", timeout=0.2)
    assert record[0].ended is not None


async def test_a_proxy_is_slow() -> None:
    loop = asyncio.get_running_loop()
    async with behind("slow") as (client, _, _):
        began = loop.time()
        assert (await client.get("/a")).content == BODY
        assert loop.time() - began > 0.5


async def test_a_proxy_flips_one_bit() -> None:
    async with behind("corrupt") as (client, record, _):
        await client.get("/a")
        sent = int.from_bytes(BODY)
        got = (await client.get("/a")).content
    assert record[1].flipped == "body"
    assert (int.from_bytes(got) ^ sent).bit_count() == 1
    assert record[1].corrupted != record[1].answer


async def test_the_weather_changes_for_the_faulty_ones_alone() -> None:
    record: list[Call] = []
    proxies = {name: Proxy(name, ("127.0.0.1", 9), random.Random(1), record) for name in ("a", "b")}  # noqa: S311
    seen: set[Mode] = set()
    weather = Weather(proxies=proxies, rng=random.Random(1), faulty=frozenset("a"), spell=(0.001, 0.002))  # noqa: S311
    changing = asyncio.create_task(weather.run())
    try:
        async with asyncio.timeout(300):
            while len(seen) < 8:
                seen.add(proxies["a"].mode)
                await asyncio.sleep(0.001)
    finally:
        changing.cancel()
        await asyncio.wait([changing])
        for proxy in proxies.values():
            await proxy.close()
    assert proxies["b"].mode == "pass"
