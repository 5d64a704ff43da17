"""Participations that end are written once each, and one that cannot be stored fails alone."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.domain.rounds import Participation, Round
from app.domain.tasks import Observation
from app.metrics import Metrics
from app.services.fleet.roster import LatestRoster
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.past import PastRounds
from app.services.rounds.record import TrackRecord
from app.services.rounds.settling import Rerouted, Settling
from app.services.tasks.breakers import Breakers
from app.store.database import Database
from app.store.leases import Fenced, Lease
from app.store.transaction import Transaction
from tests.clocks import FakeClock
from tests.services.fakes import Highest, metrics
from tests.services.rounds.stored import begun, client_of, told
from tests.store.samples import NOW, a_round

RECEIVED = Participation(client_id="a", status="received", num_examples=10, loss=1.0, finished_at=NOW)
SEEN = Observation(encoding="int8", coding="gzip")


@dataclass
class Desk:
    """What settles participations, and the trainings of which it has reported progress."""

    db: Database
    counts: Metrics = field(default_factory=metrics)
    moved: list[str] = field(default_factory=list)
    frozen: list[Round] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = FakeClock(NOW + 100.0)
        record = TrackRecord(clock, Breakers(self.db, clock, self.counts, Highest()), PastRounds(), LatestRoster())
        self.owned = OwnedTransactions(self.db)
        self.settling = Settling(
            owned=self.owned,
            progress=self.move,
            freeze=self.freeze,
            clock=clock,
            record=record,
            metrics=self.counts,
        )

    async def freeze(self, tx: Transaction, lease: Lease, round_: Round) -> Round:
        assert (await tx.trainings.get(lease.training_id)).id == round_.training_id
        self.frozen.append(round_)
        return round_

    async def move(self, tx: Transaction, training_id: str) -> None:
        assert (await tx.trainings.get(training_id)).status == "running"
        self.moved.append(training_id)

    async def claim(self) -> Lease:
        """The lease of a training in whose round a and b have tasks."""
        await begun(self.db, {"a": "training", "b": "training"})
        async with self.db.begin() as tx:
            claim = await tx.leases.claim("us", 600.0)
        assert claim is not None
        return claim.lease

    async def stored(self) -> tuple[Participation, ...]:
        async with self.db.read() as tx:
            return (await tx.rounds.get("t", 1)).participations

    def counted(self, name: str, **labels: str) -> float | None:
        return self.counts.registry.get_sample_value(name, labels)


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def test_an_end_is_written_counted_and_told_once(desk: Desk) -> None:
    lease = await desk.claim()
    assert await desk.settling.settle(lease, a_round(), RECEIVED, SEEN)
    assert not await desk.settling.settle(lease, a_round(), replace(RECEIVED, status="failed"), SEEN)
    a, b = await desk.stored()
    assert (a, b.status) == (RECEIVED, "training")
    assert (await client_of(desk.db, "a")).rounds_completed == 1
    assert [(event.type, event.client_id) for event in await told(desk.db)] == [("participation.received", "a")]
    assert desk.moved == ["t"]
    assert desk.counted("federated_participations_total", outcome="received") == 1.0
    assert desk.counted("federated_participations_total", outcome="failed") == 0
    assert desk.counted("federated_updates_total", encoding="int8", coding="gzip") == 1.0


async def test_of_two_ends_at_once_the_first_counts(desk: Desk) -> None:
    lease = await desk.claim()
    failed = Participation(client_id="a", status="failed", reason="it stopped")
    ends = [desk.settling.settle(lease, a_round(), part, SEEN) for part in (RECEIVED, failed)]
    assert await asyncio.gather(*ends) == [True, False]
    assert (await desk.stored())[0] == RECEIVED


async def test_a_result_that_no_database_can_hold_fails_alone(desk: Desk) -> None:
    lease = await desk.claim()
    poison: dict[str, Any] = {"num_examples": 10**30}
    parts = (replace(RECEIVED, attempts=2, **poison), replace(RECEIVED, client_id="b"))
    ends = [desk.settling.settle(lease, a_round(), part, SEEN) for part in parts]
    assert await asyncio.gather(*ends) == [False, True]
    a, b = await desk.stored()
    assert (a.status, a.attempts, a.num_examples, a.finished_at) == ("failed", 2, None, NOW + 100.0)
    assert (a.reason or "").startswith("its result cannot be stored: ")
    assert b.status == "received"


async def test_an_owner_that_was_overtaken_writes_nothing(desk: Desk) -> None:
    lease = await desk.claim()
    async with desk.db.begin() as tx:
        await tx.leases.revoke("t")
    with pytest.raises(Fenced):
        await desk.settling.settle(lease, a_round(), RECEIVED, SEEN)
    assert [part.status for part in await desk.stored()] == ["training", "training"]
    assert desk.moved == []


async def test_ends_wait_for_each_other_until_their_round_can_go_on(desk: Desk) -> None:
    lease = await desk.claim()
    round_ = a_round(participations=await desk.stored())
    known = desk.owned.known(lease)
    known.begin(1)
    first = asyncio.create_task(desk.settling.settle(lease, round_, RECEIVED, SEEN))
    await asyncio.sleep(0)
    assert not first.done()
    refused = Participation(client_id="b", status="failed", reason="no\x1b[2J")
    assert await desk.settling.settle(lease, round_, refused, SEEN)
    assert await first
    complete = known.complete(round_)
    assert desk.frozen == [complete], "in the transaction of the last end"
    assert complete is not None
    assert complete.participations == await desk.stored(), "its owner knows what it would read"


async def test_an_end_that_waits_is_written_in_a_hurry(desk: Desk) -> None:
    lease = await desk.claim()
    round_ = a_round(participations=await desk.stored())
    desk.owned.known(lease).begin(1)
    waiting = asyncio.create_task(desk.settling.settle(lease, round_, RECEIVED, SEEN))
    await asyncio.sleep(0)
    await desk.settling.hurry(lease, round_, "fit")
    assert waiting.done()
    assert (await desk.stored())[0] == RECEIVED


async def test_an_owner_whose_write_was_called_off_is_in_doubt(desk: Desk) -> None:
    lease = await desk.claim()
    round_ = a_round(participations=await desk.stored())
    known = desk.owned.known(lease)
    known.begin(1)
    waiting = asyncio.create_task(desk.settling.settle(lease, round_, RECEIVED, SEEN))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    known.settled(1, [RECEIVED, replace(RECEIVED, client_id="b")])
    assert known.complete(round_) is None


async def test_ends_that_belong_together_are_written_together(desk: Desk) -> None:
    lease = await desk.claim()
    relayed = replace(RECEIVED, client_id="b", relay="a")
    assert await desk.settling.settle_together(lease, a_round(), [(RECEIVED, SEEN), (relayed, Observation())])
    assert await desk.stored() == (RECEIVED, relayed)
    assert (await client_of(desk.db, "b")).rounds_completed == 1
    assert [event.client_id for event in await told(desk.db)] == ["a", "b"]


@pytest.mark.parametrize("poison", [{}, {"num_examples": 10**30}])
async def test_of_ends_that_belong_together_none_is_written_if_one_cannot_be(
    desk: Desk, poison: dict[str, Any]
) -> None:
    """One of them had ended before, or holds what no database can hold."""
    lease = await desk.claim()
    before = replace(RECEIVED, client_id="b")
    if not poison:
        assert await desk.settling.settle(lease, a_round(), before, SEEN)
    relayed = replace(RECEIVED, client_id="b", relay="a", **poison)
    assert not await desk.settling.settle_together(lease, a_round(), [(RECEIVED, SEEN), (relayed, SEEN)])
    a, b = await desk.stored()
    assert a.status == "training"
    assert b.status == "training" if poison else b == before
    assert (await client_of(desk.db, "a")).rounds_completed == 0
    assert await desk.settling.settle(lease, a_round(), RECEIVED, SEEN), "what comes later is written as ever"


async def test_an_owner_that_was_overtaken_writes_no_ends_that_belong_together(desk: Desk) -> None:
    lease = await desk.claim()
    async with desk.db.begin() as tx:
        await tx.leases.revoke("t")
    with pytest.raises(Fenced):
        await desk.settling.settle_together(lease, a_round(), [(RECEIVED, SEEN)])
    with pytest.raises(Fenced):
        await desk.settling.reroute(lease, a_round(), [Rerouted("b", "a", "it stopped")])


async def test_who_is_asked_directly_is_told_with_the_reason(desk: Desk) -> None:
    lease = await desk.claim()
    await desk.settling.reroute(lease, a_round(), [Rerouted("b", "a", "it\nstopped")])
    (event,) = await told(desk.db)
    assert (event.type, event.client_id) == ("participation.rerouted", "b")
    assert event.data == {"reason": "it stopped", "relay": "a"}
