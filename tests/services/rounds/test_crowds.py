"""Rounds with more clients than one transaction should write: none is long, and each client is counted once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from app.domain.breaker import Breaker
from app.domain.errors import IllegalTransition
from app.domain.lateness import LATE
from app.domain.parameter_groups import Unmatched
from app.domain.rounds import Round
from app.domain.tasks import TaskRun
from app.services.rounds.ending import SKIPPED_TOGETHER
from app.services.rounds.files import FirstModel
from app.store.database import Database
from app.store.leases import Lease
from app.store.model_store import StoredFile
from app.store.tables import trainings
from tests.planes import Plane, plane
from tests.services.fakes import profile

pytestmark = pytest.mark.untraced

CROWD = 2 * SKIPPED_TOGETHER + 50
LATE_ONCE = pytest.approx(0.7 * 0.9)  # of the reliability that clients claim
MOST_STATEMENTS = 23  # of a transaction, however many clients its round has: the last but one asks for the time


@dataclass
class Written:
    """What one transaction did: its statements, and the participations that it has changed."""

    statements: list[str] = field(default_factory=list)
    participations: int = 0


@contextmanager
def watched(db: Database) -> Iterator[list[Written]]:
    """Note the transactions that write, in their order."""
    seen = [Written()]
    engine = db._writers.sync_engine

    def end(_connection: object) -> None:
        seen.append(Written())

    def note(
        _connection: object, _cursor: object, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        seen[-1].statements.append(statement)
        if statement.startswith("UPDATE participations"):
            seen[-1].participations += len(parameters) if many else 1

    event.listen(engine, "commit", end)
    event.listen(engine, "before_cursor_execute", note)
    yield seen  # the last one is empty
    event.remove(engine, "commit", end)
    event.remove(engine, "before_cursor_execute", note)


@asynccontextmanager
async def crowded(
    directory: Path, database_url: str, *, breaker: Breaker | None = None, plan: bool = True
) -> AsyncIterator[tuple[Plane, Lease, Round]]:
    """A plane whose training has a model and an open round, which all clients of a silent fleet have a task of."""
    async with plane(directory, database_url, {}) as running:
        system, ledger = running.system, running.system.coordinator._engine._ledger
        await system.clients.register([(f"c{number:04}", profile()) for number in range(CROWD)])
        if breaker is not None:
            async with system.db.begin() as tx:
                await tx.clients.put(*(replace(client, breaker=breaker) for client in await tx.clients.all()))
        training_id = await running.create(clients=CROWD)
        await system.trainings.start(training_id)
        lease = await claimed(running, "first")
        await ledger._models.begin(lease, FirstModel(StoredFile("0" * 64, 8), Unmatched()), since=1.0)
        value = await system.coordinator._next(lease)
        assert value is not None
        yield running, lease, await planned(running, lease, value) if plan else value


async def claimed(running: Plane, owner: str) -> Lease:
    async with running.system.db.begin() as tx:
        await tx.connection.execute(update(trainings).values(lease_until=0.0))
        claim = await tx.leases.claim(owner, 600.0)
    assert claim is not None
    return claim.lease


async def planned(running: Plane, lease: Lease, round_: Round) -> Round:
    engine = running.system.coordinator._engine
    training = await running.system.trainings.get(round_.training_id)
    fleet, selection = await engine._selecting.plan(training, round_, 8)
    value: Round = await engine._ledger.planned(lease, round_, "0" * 64, selection, fleet, {})
    return value


def silent(round_: Round) -> dict[str, TaskRun]:
    """Tasks whose clients have had them for long, and have not answered."""
    return {client_id: TaskRun(asked_at=0.0, started_at=0.0) for client_id in round_.selected_clients}


def assert_short(transactions: list[Written], *, at_least: int) -> None:
    assert len(transactions) > at_least
    assert max(len(one.statements) for one in transactions) <= MOST_STATEMENTS
    assert max(one.participations for one in transactions) <= SKIPPED_TOGETHER


async def assert_skipped_once(running: Plane, round_: Round, reliability: Any) -> None:
    """Every client of the round is skipped with one event, and has the reliability that one miss at most gives."""
    stored = await running.round(round_.training_id, round_.number)
    assert [part.status for part in stored.participations] == ["skipped"] * CROWD
    async with running.system.db.read() as tx:
        events = (await tx.events.after(0, training_id=round_.training_id, limit=10 * CROWD)).items
        measured = {client.measured.reliability for client in await tx.clients.all()}
    skipped = [str(event.client_id) for event in events if event.type == "participation.skipped"]
    assert sorted(skipped) == sorted(stored.selected_clients)
    assert len(measured) == 1
    assert measured.pop() == reliability


@pytest.mark.parametrize("end", ["frozen", "abandoned"])
async def test_the_stragglers_of_a_crowd_are_settled_in_short_transactions(
    database_url: str, tmp_path: Path, end: str
) -> None:
    """Settled one by one in one transaction, 6 000 of them held up every writer, the lease's keeper included."""
    async with crowded(tmp_path, database_url) as (running, lease, value):
        ledger = running.system.coordinator._engine._ledger
        with watched(ledger._db) as transactions:
            if end == "frozen":
                ended = await ledger.frozen(lease, value, silent(value))
            else:
                ended = await ledger.abandoned(lease, value, "why", silent(value))
        assert ended.status == ("aggregating" if end == "frozen" else "abandoned")
        assert_short(transactions, at_least=3)
        await assert_skipped_once(running, ended, LATE_ONCE)


async def test_other_writers_come_through_while_a_crowd_is_settled(sqlite_url: str, tmp_path: Path) -> None:
    async with crowded(tmp_path, sqlite_url) as (running, lease, value):
        ledger = running.system.coordinator._engine._ledger
        ending = asyncio.create_task(ledger.frozen(lease, value, {}))
        await asyncio.sleep(0)  # in which it takes its turn
        async with ledger._db.begin() as tx:
            await tx.leases.renew([lease], 600.0)
            assert not ending.done()
            left = await tx.rounds.outstanding(lease.training_id, 1, limit=CROWD)
        assert 0 < len(left) < CROWD
        assert (await ending).status == "aggregating"


async def test_a_successor_goes_on_where_a_crowd_was_half_settled(database_url: str, tmp_path: Path) -> None:
    async with crowded(tmp_path, database_url) as (running, lease, value):
        ledger = running.system.coordinator._engine._ledger
        async with ledger._owned.begin(lease) as tx:  # and then its owner is killed
            assert await ledger._ending.skip_outstanding(tx, value, LATE, silent(value)) is None
        stored = await running.round(value.training_id, 1)
        assert stored.status == "training"
        assert sum(part.status == "skipped" for part in stored.participations) == SKIPPED_TOGETHER

        successor = await claimed(running, "second")
        ended = await ledger.abandoned(successor, stored, "why", silent(stored))
        assert ended.status == "abandoned"
        await assert_skipped_once(running, ended, LATE_ONCE)


async def test_an_event_that_is_not_legal_settles_nobody(sqlite_url: str, tmp_path: Path) -> None:
    async with crowded(tmp_path, sqlite_url) as (running, lease, value):
        ledger = running.system.coordinator._engine._ledger
        with pytest.raises(IllegalTransition):
            await ledger.frozen(lease, replace(value, status="aggregating"), {})
        stored = await running.round(value.training_id, 1)
        assert {part.status for part in stored.participations} == {"training"}


async def test_a_crowd_is_cancelled_in_short_transactions(database_url: str, tmp_path: Path) -> None:
    """One transaction held the write lock for 13 s while 3 000 clients had tasks."""
    async with crowded(tmp_path, database_url) as (running, _, value):
        service = running.system.trainings
        with watched(service._db) as transactions:
            training = await service.cancel(value.training_id)
        assert training.status == "cancelled"
        assert_short(transactions, at_least=3)
        ended = await running.round(value.training_id, 1)
        assert (ended.status, ended.failure_reason) == ("abandoned", "the training was cancelled")
        await assert_skipped_once(running, ended, None)


async def test_a_cancellation_that_was_cut_off_leaves_the_training_paused(database_url: str, tmp_path: Path) -> None:
    async with crowded(tmp_path, database_url) as (running, lease, value):
        service = running.system.trainings
        async with service._db.begin() as tx:  # and then its server is killed
            assert await service._cancel(tx, value.training_id) is None
            assert not await tx.leases.holds(lease)
        assert (await service.get(value.training_id)).status == "paused"
        assert (await running.round(value.training_id, 1)).status == "training"
        async with service._db.begin() as tx:
            assert await tx.leases.claim("second", 600.0) is None

        assert (await service.cancel(value.training_id)).status == "cancelled"
        await assert_skipped_once(running, await running.round(value.training_id, 1), None)


async def test_a_plan_takes_the_permits_of_a_crowd_at_once(database_url: str, tmp_path: Path) -> None:
    over = Breaker(state="open", opened_at=1.0, retry_at=2.0, consecutive_failures=3, openings=1)
    async with crowded(tmp_path, database_url, breaker=over, plan=False) as (running, lease, begun):
        ledger = running.system.coordinator._engine._ledger
        with watched(ledger._db) as transactions:
            value = await planned(running, lease, begun)
        assert len(value.participations) == CROWD
        assert max(len(one.statements) for one in transactions) <= MOST_STATEMENTS
        async with running.system.db.read() as tx:
            states = {client.breaker.state for client in await tx.clients.all()}
            counts = {client.rounds_selected for client in await tx.clients.all()}
        assert (states, counts) == ({"half_open"}, {1})

        await ledger.abandoned(lease, value, "why", at_fault=False)
        async with running.system.db.read() as tx:
            assert {client.breaker.probe_until for client in await tx.clients.all()} == {None}
