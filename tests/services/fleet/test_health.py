"""Who is alive, on both databases; agents answer without a network."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from app.domain.breaker import Breaker
from app.domain.clients import Client, ClientStatus, Endpoint, Health
from app.services.fleet.clients import Clients
from app.services.fleet.health import BATCH, PAGE, HealthProber
from app.services.tasks.agents import AgentCaller
from app.services.tasks.connections import PROBE_CONNECTIONS
from app.settings import HealthSettings
from app.store.database import Database
from tests.clocks import FakeClock
from tests.planes import until
from tests.services.access.replicas import server
from tests.services.fakes import TOKENS, calling, metrics
from tests.store.samples import client

START = 1_000_000.0
INTERVAL = 30.0


class Agents:
    """Answers for those that are up; `asked` holds who was probed."""

    def __init__(self) -> None:
        self.up: set[str] = set()
        self.asked: list[str] = []
        self.before: Callable[[], Any] | None = None

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.host)
        if self.before is not None:
            await self.before()
        if request.url.host not in self.up:
            raise httpx2.ConnectError("down")
        return httpx2.Response(200)


class Ward:
    """A prober, its clock, and agents by the names of their clients."""

    def __init__(self, db: Database, prober: HealthProber, clock: FakeClock, agents: Agents) -> None:
        self.db = db
        self.prober = prober
        self.clock = clock
        self.agents = agents

    async def admit(self, *clients: Client) -> None:
        async with self.db.begin() as tx:
            await tx.clients.add([replace(one, created_at=START, updated_at=START) for one in clients])

    async def after(self, seconds: float) -> dict[str, ClientStatus]:
        """The statuses after a tick so much later."""
        self.clock.advance(seconds)
        await self.prober.tick()
        async with self.db.read() as tx:
            return {one.id: one.status for one in await tx.clients.all()}

    async def get(self, client_id: str = "a") -> Client:
        async with self.db.read() as tx:
            return await tx.clients.get(client_id)

    async def events(self) -> list[tuple[str, str | None, Any]]:
        async with self.db.read() as tx:
            found = (await tx.events.after(0, limit=1000)).items
            return [(event.type, event.client_id, event.data.get("was")) for event in found]


@asynccontextmanager
async def opened(db: Database, interval: float = INTERVAL, **settings: Any) -> AsyncIterator[Ward]:
    agents, clock = Agents(), FakeClock(START)
    async with calling(agents, **settings) as caller:
        health = HealthSettings(interval_seconds=interval)
        yield Ward(db, HealthProber(db, caller, health, clock), clock, agents)


@pytest.fixture
async def ward(db: Database) -> AsyncIterator[Ward]:
    async with opened(db) as value:
        yield value


async def test_a_silent_client_is_suspect_after_one_interval_and_down_after_three(ward: Ward) -> None:
    await ward.admit(client("a"))
    assert await ward.after(30.0) == {"a": "healthy"}  # it has a whole interval to come up
    assert ward.agents.asked == []
    assert await ward.after(1.0) == {"a": "suspect"}
    assert await ward.after(59.0) == {"a": "suspect"}  # 90 s
    assert await ward.after(1.0) == {"a": "down"}
    assert await ward.after(1e6) == {"a": "down"}
    assert ward.agents.asked == ["a"] * 4
    assert await ward.events() == [("client.suspect", "a", "healthy"), ("client.down", "a", "suspect")]


async def test_a_client_that_answers_a_probe_was_seen(ward: Ward) -> None:
    await ward.admit(client("a"))
    ward.agents.up = {"a"}
    assert await ward.after(31.0) == {"a": "healthy"}
    assert (await ward.get()).last_seen_at == START + 31
    assert await ward.after(30.0) == {"a": "healthy"}
    assert ward.agents.asked == ["a"]  # nobody is asked twice in an interval
    assert await ward.events() == []


@pytest.mark.parametrize("before", ["suspect", "down"])
async def test_a_client_that_answers_again_is_healthy(ward: Ward, before: ClientStatus) -> None:
    await ward.admit(client("a", status=before, last_seen_at=START - 1000))
    ward.agents.up = {"a"}
    assert await ward.after(0.0) == {"a": "healthy"}
    assert await ward.events() == [("client.healthy", "a", before)]


async def test_a_client_that_sends_heartbeats_is_not_probed(ward: Ward) -> None:
    await ward.admit(client("a"), client("b"))
    clients = Clients(ward.db, ward.clock, metrics(), HealthSettings(), TOKENS, keys=server(ward.db).keys)
    for _ in range(4):
        ward.clock.advance(29.0)
        await clients.heartbeat("a", bandwidth=None, latency=None)
        await ward.prober.tick()
    assert await ward.after(0.0) == {"a": "healthy", "b": "down"}
    assert set(ward.agents.asked) == {"b"}


async def test_a_change_of_the_profile_is_no_sign_of_life(ward: Ward) -> None:
    await ward.admit(client("a"))
    assert await ward.after(100.0) == {"a": "down"}
    await Clients(ward.db, ward.clock, metrics(), HealthSettings(), TOKENS, keys=server(ward.db).keys).change(
        "a", {"data_size": 11}
    )
    assert await ward.after(31.0) == {"a": "down"}


async def test_registering_again_is_a_sign_of_life(ward: Ward) -> None:
    await ward.admit(client("a"))
    assert await ward.after(100.0) == {"a": "down"}
    await Clients(ward.db, ward.clock, metrics(), HealthSettings(), TOKENS, keys=server(ward.db).keys).put(
        "a", client("a").profile
    )
    assert await ward.after(30.0) == {"a": "healthy"}
    assert await ward.after(1.0) == {"a": "suspect"}


async def test_a_heartbeat_during_a_probe_counts(ward: Ward) -> None:
    await ward.admit(client("a"))

    async def heartbeat() -> None:
        await Clients(ward.db, ward.clock, metrics(), HealthSettings(), TOKENS, keys=server(ward.db).keys).heartbeat(
            "a", bandwidth=2.0, latency=None
        )

    ward.agents.before = heartbeat
    assert await ward.after(100.0) == {"a": "healthy"}
    assert (await ward.get()).measured.bandwidth == 2.0


async def test_a_probe_overwrites_nothing_that_happened_meanwhile(ward: Ward) -> None:
    await ward.admit(client("a"))
    ward.agents.up = {"a"}
    locked, done = asyncio.Event(), asyncio.Event()

    async def open_breaker() -> None:
        async with ward.db.begin() as tx:
            found = await tx.clients.get("a", for_update=True)
            locked.set()
            await asyncio.wait([asyncio.create_task(done.wait())], timeout=0.05)  # meanwhile the probe wants the row
            await tx.clients.put(replace(found, breaker=Breaker(state="open"), rounds_completed=3))

    async def probe() -> None:
        await locked.wait()
        ward.clock.advance(31.0)
        await ward.prober.tick()
        done.set()

    async with asyncio.timeout(20):
        await asyncio.gather(open_breaker(), probe())
    stored = await ward.get()
    assert (stored.breaker.state, stored.rounds_completed) == ("open", 3)
    assert stored.last_seen_at == START + 31


async def test_a_client_that_is_removed_during_its_probe_stays_removed(ward: Ward) -> None:
    await ward.admit(client("a"), client("b"))

    async def remove() -> None:
        ward.agents.before = None
        await Clients(ward.db, ward.clock, metrics(), HealthSettings(), TOKENS, keys=server(ward.db).keys).remove("a")

    ward.agents.before = remove
    assert await ward.after(100.0) == {"b": "down"}


async def test_many_silent_clients_are_probed_together_but_not_all_at_once(sqlite: Database) -> None:
    async with opened(sqlite) as ward:
        await ward.admit(*(client(f"c{number:03}") for number in range(60)))
        under_way, most = 0, 0

        async def linger() -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            for _ in range(200):  # calls begin one in each pass of the loop
                await asyncio.sleep(0)
            under_way -= 1

        ward.agents.before = linger
        assert set((await ward.after(31.0)).values()) == {"suspect"}
        assert most == 50


async def test_a_probe_that_finds_nothing_new_writes_nothing(ward: Ward) -> None:
    await ward.admit(*(client(f"c{number:03}", status="down") for number in range(120)))
    ward.clock.advance(1e6)
    async with asyncio.timeout(60), ward.db.begin() as tx:
        held = await tx.clients.lock([f"c{number:03}" for number in range(120)])
        await ward.prober.tick()  # which would wait for the rows, and on SQLite for every other writer
    assert len(held) == len(ward.agents.asked) == 120
    assert await ward.events() == []


async def test_what_probes_find_is_written_in_batches(ward: Ward) -> None:
    await ward.admit(*(client(f"c{number:03}") for number in range(BATCH + 20)))
    ward.agents.up = {f"c{number:03}" for number in range(10)}
    statuses = await ward.after(100.0)
    assert {name for name, status in statuses.items() if status == "healthy"} == ward.agents.up
    assert set(statuses.values()) == {"healthy", "down"}
    assert len(await ward.events()) == BATCH + 10


async def test_the_whole_fleet_is_looked_through(ward: Ward) -> None:
    await ward.admit(*(client(f"c{number:04}") for number in range(PAGE)), client("z"))
    assert (await ward.after(31.0))["z"] == "suspect"


@pytest.mark.parametrize(("ahead", "status"), [(INTERVAL, "healthy"), (INTERVAL + 1, "down"), (1e9, "down")])
async def test_a_sign_of_life_that_lies_in_the_future_is_not_believed(
    ward: Ward, ahead: float, status: ClientStatus
) -> None:
    await ward.admit(client("a", last_seen_at=START + 1e6 + ahead))
    assert await ward.after(1e6) == {"a": status}
    ward.agents.up = {"a"}
    await ward.after(1e6 + INTERVAL)
    assert (await ward.get()).last_seen_at == ward.clock.now()


async def test_agents_that_do_not_answer_bound_no_tick_and_those_left_over_come_first(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(sqlite, interval=0.1, connect_seconds=0.05) as ward:
        await ward.admit(*(client(f"c{number:03}") for number in range(300)))
        ward.clock.advance(31.0)
        ward.agents.before = asyncio.Event().wait
        asked, ask = [], AgentCaller.health

        async def recorded(caller: AgentCaller, agent: Endpoint) -> Health:
            asked.append(agent.url)
            return await ask(caller, agent)

        monkeypatch.setattr(AgentCaller, "health", recorded)
        async with asyncio.timeout(60):
            await ward.prober.tick()
            assert 0 < len(asked) <= 2 * PROBE_CONNECTIONS  # each worker asks one after the other
            while len(asked) < 300:
                await ward.prober.tick()
    assert len(set(asked[:300])) == 300


async def test_the_loop_ticks_twice_an_interval_and_outlives_a_tick_that_fails(sqlite: Database) -> None:
    async with opened(sqlite) as ward:
        await ward.admit(client("a"))
        looping = asyncio.create_task(ward.prober.run())

        async def asleep(asked: int) -> None:
            async def waits() -> bool:
                return len(ward.agents.asked) == asked and ward.clock.is_slept_on()

            await until(waits)

        async def rename(before: str, after: str) -> None:
            async with ward.db.begin() as tx:
                await tx.connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

        await asleep(0)
        await rename("clients", "elsewhere")
        ward.clock.advance(31.0)  # past the first half interval: the tick fails
        await asleep(0)
        await rename("elsewhere", "clients")
        ward.clock.advance(15.0)
        await asleep(1)
        assert (await ward.get()).status == "suspect"
        looping.cancel()
        await asyncio.gather(looping, return_exceptions=True)
