"""An outage of the fleet ends no training: it waits, and goes on once its agents answer again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.domain.rounds import Participation, ParticipationStatus
from app.services.rounds.absences import SAMPLE, Absences
from app.store.database import Database
from tcsfeel.agent import AgentHost
from tests.clocks import FakeClock
from tests.planes import PATIENCE, Adder, Plane, plane, policy, until
from tests.services.courses import has_status, is_idle
from tests.services.fakes import calling
from tests.store.samples import client

NAMES = ("a", "b", "c")


class Link:
    """The network between the control plane and its agents: those that are `away` refuse every connection."""

    def __init__(self, host: AgentHost) -> None:
        self.host = host
        self.away: frozenset[str] = frozenset()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if any(f"/{name}/" in scope["path"] for name in self.away):
            raise httpx2.ConnectError("refused")
        await self.host(scope, receive, send)


@asynccontextmanager
async def behind_a_link(directory: Path, database_url: str) -> AsyncIterator[tuple[Plane, Link, FakeClock]]:
    trainers, host, clock = {name: Adder(1.0) for name in NAMES}, AgentHost(), FakeClock()
    for name, trainer in trainers.items():
        host.add(name, trainer, token=f"token-of-{name}")
    link = Link(host)
    async with plane(directory, database_url, trainers, host=link, clock=clock) as running:  # type: ignore[arg-type]  # it is called like one
        yield running, link, clock
    host.close()


async def test_an_outage_of_the_whole_fleet_does_not_end_a_training(database_url: str, tmp_path: Path) -> None:
    """All agents were away for four seconds, and the training had failed for ever."""
    async with behind_a_link(tmp_path, database_url) as (running, link, clock):
        training_id = await running.create(max_rounds=3, round_policy=policy(max_failed_rounds=1))
        await running.run_round(training_id)
        await until(lambda: is_idle(running))
        link.away = frozenset(NAMES)
        await running.system.trainings.start(training_id)
        await running.drive()
        await going_on(clock, lambda: waits_in(running, training_id, 3))
        assert (await running.round(training_id, 2)).status == "abandoned"
        training = await running.system.trainings.get(training_id)
        assert (training.status, training.failed_in_row) == ("running", 0)
        assert training.outage_since is not None
        assert await _statuses(running) == ["suspect"] * 3

        await running.system.prober.tick()
        assert await _statuses(running) == ["suspect"] * 3, "they do not answer yet"
        link.away = frozenset()
        await running.system.prober.tick()
        assert await _statuses(running) == ["healthy"] * 3
        await going_on(clock, lambda: has_status(running, training_id, "completed"))
        training = await running.system.trainings.get(training_id)
        assert str(training.stop_detail).startswith("2 of 3 rounds completed")
        assert training.outage_since is None


async def test_a_training_that_begins_while_its_fleet_is_away_waits_for_a_model(
    database_url: str, tmp_path: Path
) -> None:
    async with behind_a_link(tmp_path, database_url) as (running, link, clock):
        link.away = frozenset(NAMES)
        training_id = await running.create(max_rounds=1, round_policy=policy(max_failed_rounds=1))
        await running.system.trainings.start(training_id)
        await running.drive()
        await going_on(clock, lambda: waits_in(running, training_id, 1))
        link.away = frozenset()
        await running.system.prober.tick()
        await going_on(clock, lambda: has_status(running, training_id, "completed"))


@pytest.mark.parametrize(("away", "counts"), [(("a", "b"), 0), (("a",), 1)])
async def test_only_what_an_outage_explains_is_excused(
    sqlite_url: str, tmp_path: Path, away: Sequence[str], counts: int
) -> None:
    """Two updates of three are needed, and one or two clients are away; `c`, and `b` unless it is away, are broken."""
    async with behind_a_link(tmp_path, sqlite_url) as (running, link, clock):
        rules = policy(quorum=0.6, max_failed_rounds=5)
        training_id = await running.create(max_rounds=9, round_policy=rules)
        await running.run_round(training_id)
        await until(lambda: is_idle(running))
        link.away = frozenset(away)
        for name in set(NAMES) - set(away):
            running.trainers[name].problem = RuntimeError("broken")
        await running.system.trainings.start(training_id)
        await running.drive()
        await going_on(clock, lambda: _has_abandoned(running, training_id, 2))
        assert (await running.system.trainings.get(training_id)).failed_in_row == counts


async def test_clients_that_do_not_answer_become_suspect_unless_they_are_worse(db: Database) -> None:
    clients = [client("a"), client("b"), client("c", status="down"), client("d", status="suspect")]
    async with db.begin() as tx:
        await tx.clients.add(clients)
    async with asking(db, there={"a"}) as (absences, _):
        assert [one.id for one in await absences.find(clients)] == ["b", "c", "d"]
        assert [one.id for one in await absences.find(clients[:1])] == []
    async with db.read() as tx:
        stored = {one.id: one.status for one in await tx.clients.all(labels=False)}
        told = (await tx.events.after(0, limit=100)).items
    assert stored == {"a": "healthy", "b": "suspect", "c": "down", "d": "suspect"}
    (event,) = told
    assert (event.type, event.client_id, event.data) == ("client.suspect", "b", {"was": "healthy"})


@pytest.mark.parametrize(
    ("statuses", "there", "explained", "asked"),
    [
        (["received", "failed", "failed"], "", True, "bc"),
        (["received", "failed", "failed"], "b", True, "bc"),  # one received, and one of the two that failed is away
        (["received", "failed", "failed"], "bc", False, "bc"),
        (["failed", "failed", "training"], "a", True, "abc"),
        (["rejected", "rejected", "failed"], "", False, "c"),  # two answered: there would be one update at most
        (["received", "rejected", "skipped"], "", False, ""),
    ],
)
async def test_a_missing_quorum_is_explained_by_the_clients_that_are_away(
    db: Database, statuses: list[ParticipationStatus], there: str, explained: bool, asked: str
) -> None:
    async with db.begin() as tx:
        await tx.clients.add([client(name) for name in "abc"])
    parts = [Participation(client_id=name, status=status) for name, status in zip("abc", statuses, strict=True)]
    async with asking(db, there=set(there)) as (absences, called):
        assert await absences.explain(parts, 2) is explained
    assert sorted(called) == list(asked)


async def test_a_sample_of_many_clients_is_asked(sqlite: Database) -> None:
    names = [f"c{number:03}" for number in range(SAMPLE + 10)]
    async with sqlite.begin() as tx:
        await tx.clients.add([client(name) for name in names])
    parts = [Participation(client_id=name, status="failed") for name in names]
    async with asking(sqlite, there=set()) as (absences, called):
        assert await absences.explain(parts, len(parts))
    assert len(called) == len(set(called)) == SAMPLE


@asynccontextmanager
async def asking(db: Database, *, there: set[str]) -> AsyncIterator[tuple[Absences, list[str]]]:
    """Absences over agents of which only those `there` answer, and the names of the agents that were asked."""
    called: list[str] = []

    async def agent(request: httpx2.Request) -> httpx2.Response:
        called.append(request.url.host)
        if request.url.host not in there:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200)

    async with calling(agent) as caller:
        yield Absences(db, caller, FakeClock()), called


async def going_on(clock: FakeClock, condition: Callable[[], Awaitable[bool]]) -> None:
    """Let time go by until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            clock.advance(0.5)
            await asyncio.sleep(0.01)


async def waits_in(running: Plane, training_id: str, number: int) -> bool:
    rounds = (await running.system.trainings.rounds(training_id, limit=1, before=None)).items
    return bool(rounds) and rounds[0].number == number and rounds[0].waiting_since is not None


async def _has_abandoned(running: Plane, training_id: str, number: int) -> bool:
    rounds = (await running.system.trainings.rounds(training_id, limit=10, before=None)).items
    return any(round_.number == number and round_.status == "abandoned" for round_ in rounds)


async def _statuses(running: Plane) -> list[str]:
    return [(await running.system.clients.get(name)).status for name in NAMES]
