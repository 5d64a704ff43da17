"""Addresses that were registered just now are asked for a proof at once.

Covers: app.services.fleet.newcomers
"""

import asyncio
from dataclasses import replace

from app.services.fleet.clients import Clients
from app.services.fleet.newcomers import MOST, PAUSE_SECONDS, Newcomers
from app.settings import HealthSettings
from app.store.database import Database
from tests.clocks import FakeClock
from tests.services.access.replicas import server
from tests.services.fakes import TOKENS, metrics, profile
from tests.store.samples import client


async def proved(newcomers: Newcomers, clock: FakeClock) -> list[str]:
    """Return whom the loop asks for a proof, once the pause is over."""
    asked: list[str] = []
    done = asyncio.Event()

    async def prove(ids: list[str]) -> None:
        asked.extend(ids)
        done.set()

    running = asyncio.create_task(newcomers.run(prove))
    await clock.next_sleep()
    clock.advance(PAUSE_SECONDS)
    await done.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return asked


async def test_those_that_have_something_to_prove_are_asked_together() -> None:
    clock = FakeClock()
    newcomers = Newcomers(clock)
    newcomers.notice([replace(client(name), public_key="key") for name in "ba"])
    newcomers.notice([client("without-a-key"), replace(client("c"), public_key="key")])
    assert await proved(newcomers, clock) == ["a", "b", "c"]


async def test_a_crowd_is_left_to_the_prober() -> None:
    clock = FakeClock()
    newcomers = Newcomers(clock)
    for number in range(MOST + 5):
        newcomers.notice([replace(client(f"c{number}"), public_key="key")])
    assert len(await proved(newcomers, clock)) == MOST


async def test_a_client_is_noticed_where_it_registers_or_moves(db: Database) -> None:
    clock = FakeClock()
    clients = Clients(db, clock, metrics(), HealthSettings(), TOKENS, keys=server(db).keys)
    async with db.begin() as tx:
        await tx.clients.add([replace(client(name), public_key="key") for name in "ab"])
    await clients.put("a", profile("http://new"))
    await clients.change("b", {"url": "http://new"})
    await clients.register([("c", profile())])
    assert await proved(clients.newcomers, clock) == ["a", "b"]
