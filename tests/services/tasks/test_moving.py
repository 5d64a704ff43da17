"""An agent that moves in the middle of its task, and says so by registering its new address."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest

from app.domain.retries import RetryBudget
from app.metrics import Metrics
from app.services.fleet.clients import Clients
from app.services.tasks.assignments import Assignment
from app.services.tasks.breakers import Breakers
from app.services.tasks.dispatch import MOST_MOVES, Dispatcher
from app.settings import AgentSettings, HealthSettings
from app.store.database import Database
from app.store.model_store import ModelStore
from tcsfeel.agent import AgentHost, Signing
from tcsfeel.agent.listening import listening
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import pack
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder, until
from tests.services.access.replicas import server
from tests.services.bench import OK, TASK, Bench, Benches
from tests.services.fakes import HERE, LOOPBACK, SERVER_SEED, TOKENS, Highest, calling, metrics, profile
from tests.store.samples import client


def clients(db: Database, clock: FakeClock) -> Clients:
    return Clients(db, clock, metrics(), HealthSettings(), TOKENS, keys=server(db).keys)


async def register(b: Bench, url: str, token: str | None = None) -> None:
    await clients(b.db, b.clock).put("a", profile(url, auth_token=token))


def on_the(number: int, b: Bench, url: str, token: str | None = None) -> None:
    """Have the agent move during its call of this number."""

    async def move() -> None:
        if len(b.script.calls) == number:
            await register(b, url, token)

    b.script.before = move


async def test_an_agent_that_moved_is_polled_where_it_is(bench: Benches) -> None:
    async with bench(202, 202, OK) as b:
        on_the(2, b, "http://elsewhere", "new")
        outcome = await b.go()
        assert [str(url.host) for url in b.script.urls] == ["agent", "agent", "elsewhere"]
        assert b.script.tokens == [None, None, "new"]
        assert (outcome.run.attempts, outcome.reason) == (1, None)


@pytest.mark.parametrize("number", [1, 2])
async def test_a_call_that_fails_at_the_old_address_is_no_failure(bench: Benches, number: int) -> None:
    steps = [*[202] * (number - 1), ConnectionResetError("gone"), OK]
    async with bench(*steps) as b:
        b.budget = RetryBudget(0)
        on_the(number, b, "http://elsewhere")
        outcome = await b.go()
        assert b.script.calls[-1] == "GET"  # it is asked for the task that it may have
        assert [str(url.host) for url in b.script.urls[number - 1 :]] == ["agent", "elsewhere"]
        assert (outcome.run.attempts, outcome.reason) == (1, None)
        assert b.clock.slept == []
        assert (await b.breaker()).consecutive_failures == 0


async def test_an_agent_that_moved_and_forgot_its_task_is_handed_it_again_within_its_try(bench: Benches) -> None:
    async with bench(ConnectionResetError("gone"), 404, 202, OK) as b:
        b.budget = RetryBudget(0)
        on_the(1, b, "http://elsewhere")
        outcome = await b.go()
        assert b.script.calls == ["PUT", "GET", "PUT", "GET"]
        assert (outcome.run.attempts, outcome.reason) == (1, None)


async def test_an_agent_that_moves_all_the_time_and_never_answers_fails(bench: Benches) -> None:
    async with bench(ConnectionResetError("gone")) as b:
        b.budget = RetryBudget(0)

        async def move() -> None:
            await register(b, f"http://agent-{len(b.script.calls)}")

        b.script.before = move
        outcome = await b.go()
        assert outcome.reason == "the connection was lost (ConnectionResetError)"
        assert len(b.script.calls) == 1 + MOST_MOVES
        assert (await b.breaker()).consecutive_failures == 1


async def test_a_change_of_something_else_is_no_move(bench: Benches) -> None:
    async with bench(ConnectionResetError("gone")) as b:
        b.budget = RetryBudget(0)

        async def change() -> None:
            await clients(b.db, b.clock).change("a", {"data_size": 11})

        b.script.before = change
        await b.go()
        assert b.script.calls == ["PUT"]
        assert (await b.breaker()).consecutive_failures == 1


async def test_a_device_that_moves_its_port_trains_once_and_is_not_blamed(
    db: Database, counts: Metrics, tmp_path: Path
) -> None:
    trainer, host, clock = Adder(), AgentHost(), FakeClock(sleeping=Sleeping.SKIPS)
    trainer.open.clear()
    host.add("a", trainer)
    breakers = Breakers(db, clock, counts, Highest())
    settings = AgentSettings(**LOOPBACK, poll_seconds=0.2)
    model = pack({"w": np.zeros(3, np.float32)})
    async with (
        asyncio.timeout(60),
        calling(max_bytes=10_000, **LOOPBACK) as caller,
        listening(host, HERE, 0) as new,
    ):
        dispatcher = Dispatcher(
            caller=caller, breakers=breakers, settings=settings, clock=clock, metrics=counts, rng=Highest()
        )
        async with listening(host, HERE, 0) as old:
            before = client("a", profile=profile(f"{old}{host.path('a')}"))
            async with db.begin() as tx:
                await tx.clients.add([before])
            assignment = Assignment(before, TASK, model, ModelStore(tmp_path / "spool"))
            running = asyncio.create_task(dispatcher.run(assignment, {}, RetryBudget(0)))

            async def begun() -> bool:
                return bool(trainer.fitted)

            await until(begun)
            moved = replace(before.profile, url=f"{new}{host.path('a')}")
            await clients(db, clock).put("a", moved)
        trainer.open.set()
        outcome = await running
    host.close()
    assert (outcome.run.attempts, outcome.reason) == (1, None)
    assert outcome.result is not None
    assert trainer.fitted == {TASK.id: 1}
    assert (await breakers.get("a")).consecutive_failures == 0


@pytest.mark.parametrize("same_device", [True, False])
async def test_a_new_address_is_given_nothing_before_it_proves_that_it_is_the_devices(
    db: Database, counts: Metrics, tmp_path: Path, *, same_device: bool
) -> None:
    device, other = Identity(b"d" * 32), Identity(b"x" * 32)
    server_key = Identity(SERVER_SEED).public_key
    network: dict[str, Adder] = {"old": Adder(), "new": Adder()}
    hosts = {name: AgentHost() for name in network}
    hosts["old"].add("a", network["old"], signing=Signing(device, server_key))
    hosts["new"].add("a", network["new"], signing=Signing(device if same_device else other, server_key))
    asked: list[str] = []
    clock = FakeClock(sleeping=Sleeping.SKIPS)

    async def agent(request: httpx2.Request) -> httpx2.Response:
        asked.append(f"{request.method} {request.url.host}")
        if request.url.host == "old":
            raise ConnectionResetError("gone")
        return await httpx2.ASGITransport(hosts["new"]).handle_async_request(request)

    before = client("a", profile=profile(f"http://old{AgentHost.path('a')}"), public_key=device.public_key)
    async with db.begin() as tx:
        await tx.clients.add([before])
    await clients(db, clock).put("a", profile(f"http://new{AgentHost.path('a')}"))
    async with calling(agent, max_bytes=10_000) as caller:
        dispatcher = Dispatcher(
            caller=caller,
            breakers=Breakers(db, clock, counts, Highest()),
            settings=AgentSettings(),
            clock=clock,
            metrics=counts,
            rng=Highest(),
        )
        assignment = Assignment(before, TASK, pack({"w": np.zeros(3, np.float32)}), ModelStore(tmp_path / "spool"))
        outcome = await dispatcher.run(assignment, {}, RetryBudget(0))
    for host in hosts.values():
        host.close()
    assert asked[:2] == ["PUT old", "GET new"]
    if same_device:
        assert outcome.result is not None
        assert outcome.result.evidence is not None
    else:
        assert str(outcome.reason).startswith("unproven: the agent answered 401: ")
        assert "PUT new" not in asked
        assert not network["new"].fitted
