"""Addresses prove that they belong to the devices of their clients, and the prober tells of those that do not.

Covers: app.services.fleet.health
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2

from app.domain.clients import Client
from app.domain.identity import SILENT
from app.services.fleet.health import HealthProber
from app.settings import HealthSettings
from app.store.database import Database
from tcsfeel.agent import AgentHost, Signing
from tcsfeel.identity import Identity
from tests.clocks import FakeClock
from tests.planes import Adder
from tests.services.fakes import SERVER_SEED, calling, profile
from tests.store.samples import client

START, INTERVAL = 1_000_000.0, 30.0
DEVICE, STRANGER = Identity(b"d" * 32), Identity(b"x" * 32)
UNSIGNED = "unsigned answer: the client has a public key, so its results have to be signed with it"


class Network:
    """A prober, and agents that are reached by the names of their hosts."""

    def __init__(self, db: Database, clock: FakeClock) -> None:
        self.db = db
        self.clock = clock
        self.hosts: dict[str, AgentHost] = {}
        self.asked: list[str] = []
        self.prober: HealthProber

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.host)
        if request.url.host not in self.hosts:
            raise httpx2.ConnectError("down")
        return await httpx2.ASGITransport(self.hosts[request.url.host]).handle_async_request(request)

    def serve(self, host: str, identity: Identity | None) -> None:
        """Serve an agent of client `a` at a host."""
        signing = None if identity is None else Signing(identity, Identity(SERVER_SEED).public_key)
        self.hosts[host] = AgentHost()
        self.hosts[host].add("a", Adder(), signing=signing)

    async def register(self, host: str) -> None:
        """Register the address of a host for client `a`, whose device has the key of `DEVICE`."""
        given = profile(f"http://{host}{AgentHost.path('a')}")
        value = client("a", profile=given, created_at=START, updated_at=START, public_key=DEVICE.public_key)
        async with self.db.begin() as tx:
            if await tx.clients.add_missing([value]):
                return
            before = await tx.clients.get("a", for_update=True)
            await tx.clients.put_profile(before, replace(before, profile=given))

    async def stored(self) -> Client:
        async with self.db.read() as tx:
            return await tx.clients.get("a")

    async def events(self) -> list[tuple[str, str]]:
        async with self.db.read() as tx:
            found = (await tx.events.after(0, limit=100)).items
            return [(event.type, event.data["url"]) for event in found if "url" in event.data]


@asynccontextmanager
async def network(db: Database) -> AsyncIterator[Network]:
    clock = FakeClock(START)
    value = Network(db, clock)
    async with calling(value, max_bytes=10_000) as caller:
        value.prober = HealthProber(db, caller, HealthSettings(interval_seconds=INTERVAL), clock)
        yield value
    for host in value.hosts.values():
        host.close()


async def test_an_address_proves_once_whose_it_is(db: Database) -> None:
    async with network(db) as net:
        net.serve("here", DEVICE)
        await net.register("here")
        await net.prober.tick()
        value = await net.stored()
        assert (value.unproven, value.status) == (None, "healthy")
        assert value.identity.proof is not None
        assert value.identity.proof.at == START
        await net.prober.tick()
        await net.prober.prove(["a", "unknown"])
        assert net.asked == ["here"]
        assert await net.events() == [("client.proved", "http://here/agents/a")]


async def test_another_address_has_to_prove_it_again(db: Database) -> None:
    async with network(db) as net:
        net.serve("here", DEVICE)
        net.serve("there", DEVICE)
        await net.register("here")
        await net.prober.prove(["a"])
        await net.register("there")
        assert str((await net.stored()).unproven).startswith("unproven: ")
        await net.prober.prove(["a"])
        assert (await net.stored()).unproven is None
        assert await net.events() == [("client.proved", f"http://{host}/agents/a") for host in ("here", "there")]


async def test_the_address_of_another_device_is_told_once_and_gets_nothing(db: Database) -> None:
    async with network(db) as net:
        net.serve("here", DEVICE)
        net.serve("stranger", STRANGER)
        net.serve("unsigned", None)
        for host in ("stranger", "unsigned"):
            await net.register(host)
            await net.prober.tick()
            await net.prober.tick()
            assert net.asked.count(host) == 2
        assert (await net.stored()).unproven == f"unproven: {UNSIGNED}"
        assert await net.events() == [
            ("client.doubted", f"http://{host}/agents/a") for host in ("stranger", "unsigned")
        ]
        await net.register("here")
        await net.prober.tick()
        value = await net.stored()
        assert (value.unproven, value.identity.doubt) == (None, None)


async def test_an_address_that_does_not_answer_is_asked_again(db: Database) -> None:
    async with network(db) as net:
        await net.register("here")
        await net.prober.tick()
        await net.prober.tick()
        assert (await net.stored()).unproven == f"{SILENT}: the agent could not be reached"
        assert await net.events() == [("client.unproven", "http://here/agents/a")]
        net.serve("here", DEVICE)
        await net.prober.tick()
        assert (await net.stored()).unproven is None


async def test_an_address_that_is_refused_is_told_with_the_setting_that_would_allow_it(db: Database) -> None:
    clock = FakeClock(START)
    given = profile("http://169.254.1.2:9000")
    value = client("a", profile=given, created_at=START, updated_at=START, public_key=DEVICE.public_key)
    async with db.begin() as tx:
        await tx.clients.add([value])
    async with calling() as caller:
        await HealthProber(db, caller, HealthSettings(interval_seconds=INTERVAL), clock).prove(["a"])
    async with db.read() as tx:
        unproven = str((await tx.clients.get("a")).unproven)
        (event,) = (await tx.events.after(0, limit=100)).items
    why = 'agents may not be at 169.254.1.2: to allow it, set TCSFEEL_AGENTS__ALLOWED_NETWORKS, for example to ["169.2'
    assert unproven.startswith(f"{SILENT}: {why}")
    assert (event.type, event.data["reason"]) == ("client.unproven", unproven.removeprefix(f"{SILENT}: "))


async def test_a_proved_address_at_which_another_agent_answers_now_is_told(db: Database) -> None:
    async with network(db) as net:
        net.serve("here", DEVICE)
        await net.register("here")
        await net.prober.tick()
        net.serve("here", None)
        net.clock.advance(INTERVAL + 1)
        await net.prober.tick()
        value = await net.stored()
        assert (str(value.unproven).partition(":")[0], value.status) == ("unproven", "suspect")
        assert value.identity.doubt is not None
        assert value.identity.doubt.reason == UNSIGNED
        assert [kind for kind, _ in await net.events()] == ["client.proved", "client.doubted"]
