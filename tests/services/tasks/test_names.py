"""Looking names up: a name that hangs, or stands for nothing, is nobody's trouble but its own."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.services.tasks.names import FAILED_SECONDS, HANGING_LOOKUPS, KNOWN_SECONDS, LOOKUPS, NameNotResolved, Names
from app.store.model_store import ModelStore
from tests.clocks import FakeClock
from tests.planes import until
from tests.services.asking import FETCH, failure
from tests.services.fakes import HERE, LOOPBACK, calling, endpoint, listening, reply

SECONDS = 0.05
SLOW = f"its host name cannot be resolved in {SECONDS:g} s"
UNKNOWN = "its host name cannot be resolved"


class Resolver:
    """The system's: names that begin with ``hang`` hang until the end, those of `nowhere` stand for nothing."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.nowhere: set[str] = set()
        self.hanging: set[str] = set()
        self.address = "10.0.0.7"
        self.over = threading.Event()
        self.stuck: set[str] = set()

    def __call__(self, host: str, _port: Any, **_how: Any) -> list[Any]:
        self.asked[host] += 1
        if host.startswith("hang") or host in self.hanging:
            self.stuck.add(host)
            self.over.wait(30)
            self.stuck.discard(host)
        if host in self.nowhere:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (self.address, 0))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    system = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", system)
    yield system
    system.over.set()


@asynccontextmanager
async def looking(clock: FakeClock | None = None, seconds: float = SECONDS) -> AsyncIterator[Names]:
    names = Names(seconds, (clock or FakeClock()).now)
    try:
        async with asyncio.timeout(60):
            yield names
    finally:
        await names.close()


async def stuck(resolver: Resolver, number: int) -> None:
    """Wait until so many lookups hang."""

    async def are() -> bool:
        return len(resolver.stuck) == number

    await until(are)


async def where(names: Names, host: str) -> str:
    """Its one address, or why there is none."""
    try:
        ((_, _, _, _, address),) = await names.resolve(host, 9000)
    except NameNotResolved as error:
        return str(error)
    assert address[1] == 9000
    return str(address[0])


async def test_a_name_is_looked_up_once_and_remembered_for_a_while(resolver: Resolver) -> None:
    clock = FakeClock()
    async with looking(clock, 30) as names:
        assert await asyncio.gather(*(where(names, "agent") for _ in range(10))) == ["10.0.0.7"] * 10
        clock.advance(KNOWN_SECONDS - 1)
        await where(names, "agent")
        assert resolver.asked == {"agent": 1}
        resolver.address = "10.0.0.8"
        clock.advance(1)
        assert await where(names, "agent") == "10.0.0.8"
    assert resolver.asked == {"agent": 2}


async def test_a_name_of_nothing_is_not_looked_up_again_at_once(resolver: Resolver) -> None:
    resolver.nowhere.add("agent")
    clock = FakeClock()
    async with looking(clock, 30) as names:
        assert [await where(names, "agent") for _ in range(3)] == [UNKNOWN] * 3
        assert resolver.asked == {"agent": 1}
        resolver.nowhere.clear()
        clock.advance(FAILED_SECONDS)
        assert await where(names, "agent") == "10.0.0.7"


async def test_a_name_that_no_longer_stands_for_anything_is_not_called_any_more(resolver: Resolver) -> None:
    clock = FakeClock()
    async with looking(clock, 30) as names:
        await where(names, "agent")
        resolver.nowhere.add("agent")
        clock.advance(KNOWN_SECONDS)
        assert await where(names, "agent") == UNKNOWN


async def test_a_name_that_hangs_has_one_lookup_and_says_so_at_once_the_next_time(resolver: Resolver) -> None:
    async with looking() as names:
        assert await asyncio.gather(*(where(names, "hang") for _ in range(10))) == [SLOW] * 10
        assert await where(names, "hang") == SLOW
    assert resolver.asked == {"hang": 1}


async def test_the_last_known_addresses_are_used_where_a_lookup_hangs(resolver: Resolver) -> None:
    clock = FakeClock()
    async with looking(clock) as names:
        await where(names, "agent")
        resolver.hanging.add("agent")
        clock.advance(KNOWN_SECONDS)
        assert [await where(names, "agent") for _ in range(2)] == ["10.0.0.7"] * 2
    assert resolver.asked == {"agent": 2}


async def test_names_that_hang_keep_no_other_waiting(resolver: Resolver) -> None:
    async with looking(seconds=30) as names:
        waiting = [asyncio.create_task(where(names, f"hang-{number}")) for number in range(LOOKUPS - 1)]
        await stuck(resolver, LOOKUPS - 1)
        assert await where(names, "agent") == "10.0.0.7"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_names_that_hung_before_share_a_part_of_the_lookups(resolver: Resolver) -> None:
    clock = FakeClock()
    crowd = [f"hang-{number}" for number in range(LOOKUPS)]
    async with looking(clock) as names:
        assert set(await asyncio.gather(*(where(names, host) for host in crowd))) == {SLOW}
        resolver.over.set()
        await stuck(resolver, 0)
        assert await where(names, "agent") == "10.0.0.7"
        resolver.over.clear()
        clock.advance(2 * KNOWN_SECONDS)
        again = [asyncio.create_task(where(names, host)) for host in crowd]
        await stuck(resolver, HANGING_LOOKUPS)
        assert await where(names, "newcomer") == "10.0.0.7"
        await asyncio.gather(*again)
        assert len(resolver.stuck) == HANGING_LOOKUPS


@pytest.mark.untraced
@FETCH
async def test_ten_names_that_hang_do_not_hold_up_work_in_threads_or_other_agents(
    fetch: Any, resolver: Resolver, spool: ModelStore
) -> None:
    resolver.address = HERE
    async with listening(reply("200 OK", b"hello")) as peer, calling(**LOOPBACK, connect_seconds=3.0) as agents:
        async with asyncio.timeout(60):
            hanging = [fetch(agents, spool, endpoint(f"http://hang-{number}")) for number in range(10)]
            waiting = [asyncio.create_task(failure(call)) for call in hanging]
            await stuck(resolver, 10)
            assert await asyncio.to_thread(lambda: "a thread") == "a thread"
            assert (await fetch(agents, spool, endpoint(f"http://agent:{peer.port}"))).answer == "result"
            assert not any(task.done() for task in waiting)
            assert set(await asyncio.gather(*waiting)) == {"its host name cannot be resolved in 3 s"}


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "1.2.3", "10.0.0.7.0x1", "256.1.1.1"])
async def test_numbers_that_are_no_address_are_not_looked_up(resolver: Resolver, host: str) -> None:
    async with looking() as names:
        with pytest.raises(ValueError, match="neither a name nor an address"):
            await names.resolve(host, 80)
    assert not resolver.asked


@pytest.mark.parametrize("host", ["10.0.0.7", "fd00::7"])
async def test_an_address_needs_no_lookup(resolver: Resolver, host: str) -> None:
    async with looking() as names:
        assert await where(names, host) == host
    assert not resolver.asked
