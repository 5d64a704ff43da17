"""The track record of clients: how rounds change what is known about them, and their breakers."""

from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Measured
from app.domain.evaluations import NOTHING_HELD_OUT
from app.domain.failures import Failures
from app.domain.rounds import Participation
from app.domain.tasks import Observation
from app.services.fleet.roster import LatestRoster
from app.services.rounds.past import PastRounds
from app.services.rounds.record import TrackRecord
from app.services.tasks.breakers import Breakers
from app.store.database import Database
from tcsfeel.selection.sketches import SIZE
from tests.clocks import FakeClock
from tests.services.fakes import Highest, metrics
from tests.services.rounds.stored import begun, client_of, told
from tests.store.samples import NOW, a_round, client

CLOCK = FakeClock(NOW + 100.0)
PROBED = Breaker(state="half_open", openings=1, probe_at=NOW, probe_until=NOW + 900.0)
OPEN = Breaker(state="open", opened_at=NOW, retry_at=NOW + 900.0, openings=1)


@pytest.fixture
def record(db: Database) -> TrackRecord:
    return TrackRecord(CLOCK, Breakers(db, CLOCK, metrics(), Highest()), PastRounds(), LatestRoster())


async def test_an_update_counts_for_its_client_and_a_failure_against_it(db: Database, record: TrackRecord) -> None:
    round_ = await begun(db, {"a": "training", "b": "training"}, clients={"a": {"breaker": PROBED}})
    came = Participation(client_id="a", status="received", finished_at=NOW + 7.0)
    failed = Participation(client_id="b", status="failed")
    async with db.begin() as tx:
        seen = {"a": (came, Observation(train_seconds=4.0)), "b": (failed, Observation())}
        await record.learn(tx, round_.training_id, seen)
    a, b = await client_of(db, "a"), await client_of(db, "b")
    assert (a.rounds_completed, a.last_seen_at, a.measured.train_seconds) == (1, NOW + 7.0, 4.0)
    assert a.measured.reliability == pytest.approx(0.9 + 0.3 * 0.1)
    assert (a.breaker.state, [event.type for event in await told(db)]) == ("closed", ["breaker.closed"])
    assert b.rounds_completed == 0
    assert b.measured.reliability == pytest.approx(0.9 * 0.7)


async def test_of_a_removed_client_only_the_sketch_is_kept(db: Database, record: TrackRecord) -> None:
    round_ = await begun(db, {"a": "training"})
    async with db.begin() as tx:
        await tx.clients.remove("a")
    came = Participation(client_id="a", status="received")
    async with db.begin() as tx:
        await record.learn(tx, round_.training_id, {"a": (came, Observation(sketch=(1.0,) * SIZE))})
    async with db.read() as tx:
        assert await tx.sketches.means(round_.training_id) == {"a": pytest.approx((1.0,) * SIZE)}
        assert await tx.clients.all() == []


async def test_clients_without_held_out_data_are_noted_and_a_right_evaluation_ends_a_row_of_failures(
    db: Database, record: TrackRecord
) -> None:
    failed = {"breaker": Breaker(consecutive_failures=2), "failures": Failures(faulty=3, wrong_evaluations=3)}
    await begun(db, {"a": "received", "b": "received"}, clients={"a": failed})
    measured = Participation(kind="evaluate", client_id="a", status="received", loss=0.5)
    empty = Participation(kind="evaluate", client_id="b", status="skipped", reason=NOTHING_HELD_OUT)
    async with db.begin() as tx:
        await record.evaluated(tx, {"a": (measured, Observation()), "b": (empty, Observation())})
    a = await client_of(db, "a")
    assert a.measured.no_held_out_data_at is None
    assert a.breaker.consecutive_failures == 0
    assert a.failures == Failures(faulty=3), "it has failed, but not any more"
    assert (await client_of(db, "b")).measured.no_held_out_data_at == CLOCK.now()


async def test_selected_clients_have_one_more_round_and_a_forced_breaker_gives_its_permit(
    db: Database, record: TrackRecord
) -> None:
    await begun(db, {"a": "pending", "b": "pending"}, clients={"b": {"breaker": OPEN}})
    async with db.begin() as tx:
        await record.selected(tx, await tx.clients.lock(["a", "b"]), CLOCK.now() + 60.0, forced=["b"])
    a, b = await client_of(db, "a"), await client_of(db, "b")
    assert (a.rounds_selected, a.breaker) == (1, Breaker())
    assert (b.rounds_selected, b.breaker.state, b.breaker.probe_until) == (1, "half_open", CLOCK.now() + 60.0)


async def test_only_a_late_client_counts_as_unreliable_and_each_breaker_gets_its_permit_back(
    db: Database, record: TrackRecord
) -> None:
    await begun(db, {"a": "training", "b": "training"}, clients={"a": {"breaker": PROBED}, "b": {"breaker": PROBED}})
    async with db.begin() as tx:
        await record.miss(tx, {"a": True, "b": False})
    a, b = await client_of(db, "a"), await client_of(db, "b")
    assert a.measured.reliability == pytest.approx(0.9 * 0.7)
    assert b.measured.reliability is None
    assert a.breaker == b.breaker == PROBED.release()


async def test_the_credit_for_a_rejected_update_is_taken_back_and_the_breaker_keeps_the_reason(
    db: Database, record: TrackRecord
) -> None:
    credited = {"measured": Measured(reliability=0.93), "rounds_completed": 1, "breaker": Breaker(outcomes=("ok",))}
    round_ = await begun(db, {"a": "rejected"}, clients={"a": credited})
    async with db.begin() as tx:
        await record.take_back(tx, round_, {"a": "it is an outlier", "removed": "it is an outlier"})
    a = await client_of(db, "a")
    assert a.rounds_completed == 0
    assert a.measured.reliability == pytest.approx(0.9 * 0.7)
    assert a.breaker.outcomes == ("failed",)
    assert [(one.phase, one.round, one.reason) for one in a.breaker.last_failures] == [("fit", 1, "it is an outlier")]


async def test_fairness_counts_the_used_updates_of_all_registered_clients(db: Database, record: TrackRecord) -> None:
    first = await begun(db, {"a": "received", "b": "failed"})
    parts = tuple(Participation(client_id=client_id, status="received") for client_id in "ab")
    second = a_round(number=2, participations=parts)
    async with db.begin() as tx:
        await tx.clients.add([client("c")])
        await tx.rounds.add(second)
        await tx.rounds.add_participations(second)
    async with db.read() as tx:
        assert await record.fairness(tx, first) == pytest.approx(1 / 3)  # of 1, 0 and 0
        assert await record.fairness(tx, second) == pytest.approx(9 / (3 * 5))  # of 2, 1 and 0


async def test_an_evaluation_that_has_ended_wrongly_counts_once(db: Database, record: TrackRecord) -> None:
    await begun(db, {"a": "received", "b": "received"})
    failed = Participation(kind="evaluate", client_id="a", status="failed", reason="it is wrong", attempts=3)
    unreachable = replace(failed, client_id="b", reason="no connection")
    for count in (1, 2):
        async with db.begin() as tx:
            await record.evaluated(tx, {"a": (failed, Observation(faulty=True)), "b": (unreachable, Observation())})
        assert (await client_of(db, "a")).failures.wrong_evaluations == count
    assert (await client_of(db, "b")).failures == Failures()


async def test_a_round_that_has_ended_counts_in_the_next_one_without_being_read(
    db: Database, record: TrackRecord
) -> None:
    second = replace(await begun(db, {"a": "received", "b": "received"}), number=2)
    async with db.read() as tx:
        assert await record.fairness(tx, second) == 1.0  # of 2 and 2; now the rounds before it are known
        record.ended(replace(second, participations=second.participations[:1]))
        fairness = await record.fairness(tx, replace(second, number=3, participations=()))
    assert fairness == pytest.approx(9 / (2 * 5))  # of 2 and 1
