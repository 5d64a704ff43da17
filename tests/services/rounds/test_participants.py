"""What agents are told when nobody waits for their answer."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.domain.breaker import Breaker
from app.domain.rounds import Participation
from app.domain.tasks import Observation
from app.services.rounds import participants
from app.services.rounds.files import RoundFiles
from app.services.rounds.participants import Participants
from app.services.rounds.results import Results
from app.services.tasks.breakers import Breakers
from app.services.tasks.dispatch import Dispatcher
from app.settings import AgentSettings
from app.store.database import Database
from app.store.model_store import ModelStore
from tests.clocks import FakeClock
from tests.services.fakes import calling, metrics, profile
from tests.store.samples import a_round, client

CLIENTS = [
    client("a", profile=profile("http://a")),
    client("b", profile=profile("http://b"), breaker=Breaker(state="open", retry_at=9e9, openings=1)),
    client("c", profile=profile("http://c"), breaker=Breaker(state="half_open", openings=1)),
]


@asynccontextmanager
async def errands(
    db: Database, directory: Path, *, hang: bool = False
) -> AsyncIterator[tuple[Participants, list[str]]]:
    """Participants, and what their agents are told."""
    told: list[str] = []

    async def agent(request: httpx2.Request) -> httpx2.Response:
        told.append(f"{request.method} {request.url}")
        if hang:
            await asyncio.Event().wait()
        return httpx2.Response(204)

    nothing: Any = None  # no ledger: errands write nothing
    async with calling(agent) as caller:
        clock, counts, rng = FakeClock(), metrics(), random.Random(1)  # noqa: S311  (jitter, not secrets)
        breakers = Breakers(db, clock, counts, rng)
        dispatcher = Dispatcher(
            caller=caller, breakers=breakers, settings=AgentSettings(), clock=clock, metrics=counts, rng=rng
        )
        files = RoundFiles(ModelStore(directory / "models"), directory / "spool")
        these = Participants(
            clock=clock,
            caller=caller,
            dispatcher=dispatcher,
            breakers=breakers,
            files=files,
            ledger=nothing,
            models=nothing,
            results=Results(files, breakers),
        )
        yield these, told


async def run_by_themselves(these: Participants) -> None:
    """Let errands come to their ends without anybody who asks for their results."""
    await asyncio.wait(set(these._errands))
    await asyncio.sleep(0)
    gc.collect()  # then asyncio tells of exceptions that nobody has seen


async def test_agents_are_told_to_forget_unless_their_breaker_is_open(sqlite: Database, tmp_path: Path) -> None:
    async with sqlite.begin() as tx:
        await tx.clients.add(CLIENTS)
    async with errands(sqlite, tmp_path) as (these, told):
        these.forget(CLIENTS, a_round("t", 3), "fit")
        these.forget([], a_round("t", 3), "fit")
        await these.drain()
    assert sorted(told) == ["DELETE http://a/tasks/t.3.a.fit", "DELETE http://c/tasks/t.3.c.fit"]


async def test_agents_are_told_of_carried_tasks_by_the_round_in_which_these_began(
    sqlite: Database, tmp_path: Path
) -> None:
    async with sqlite.begin() as tx:
        await tx.clients.add(CLIENTS)
    async with errands(sqlite, tmp_path) as (these, told):
        parts = (Participation(client_id="a", begun_in=2), Participation(client_id="c"))
        these.forget(CLIENTS, a_round("t", 3, participations=parts), "fit")
        these.call_off([(CLIENTS[0], "t.1.a.fit")])
        await these.drain()
    assert sorted(told) == [f"DELETE http://{name}/tasks/t.{task}.fit" for name, task in (
        ("a", "1.a"), ("a", "2.a"), ("c", "3.c"),
    )]  # fmt: skip


async def test_a_client_that_is_excused_is_skipped_and_not_blamed(sqlite: Database, tmp_path: Path) -> None:
    settled: list[tuple[Participation, Observation]] = []

    class Ledger:
        async def settled(self, lease: Any, round_: Any, part: Participation, seen: Observation) -> bool:
            del lease, round_
            settled.append((part, seen))
            return True

    async with errands(sqlite, tmp_path) as (these, _):
        writing: Any = these
        writing._ledger = Ledger()
        await writing.excuse(None, a_round("t", 3), Participation(client_id="a"), "our fault")
    ((part, seen),) = settled
    assert (part.status, part.reason, part.finished_at is None, seen.excused) == ("skipped", "our fault", False, True)


async def test_an_agent_that_moved_is_told_where_it_is(sqlite: Database, tmp_path: Path) -> None:
    before = CLIENTS[0]
    async with sqlite.begin() as tx:
        await tx.clients.add([replace(before, profile=replace(before.profile, url="http://elsewhere"))])
    async with errands(sqlite, tmp_path) as (these, told):
        these.forget([before], a_round("t", 3), "fit")
        await these.drain()
    assert told == [f"DELETE http://elsewhere/tasks/t.3.{before.id}.fit"]


async def test_an_agent_that_does_not_listen_is_left_alone(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participants, "FORGET_SECONDS", 0.01)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    async with errands(sqlite, tmp_path, hang=True) as (these, told):
        these.forget(CLIENTS, a_round("t", 3), "fit")
        await run_by_themselves(these)
    assert len(told) == 3
    assert problems == []


async def test_without_a_database_agents_are_told_nothing(tmp_path: Path) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    async with errands(Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/file.db"), tmp_path) as (these, told):
        these.forget(CLIENTS, a_round("t", 3), "fit")
        await run_by_themselves(these)
    assert told == []
    assert problems == []


async def test_the_spool_of_a_round_is_emptied_without_waiting(sqlite: Database, tmp_path: Path) -> None:
    async with errands(sqlite, tmp_path) as (these, _):
        spool = these._files.spool_of("t", 1)
        stored = spool.write([b"x"])
        these.empty_spool(a_round("t", 1))
        assert spool.has(stored.sha256)
        await these.drain()
        assert not spool.has(stored.sha256)
