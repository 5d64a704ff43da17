"""The end of a round: who is blamed, what is measured, and who is told."""

from dataclasses import dataclass, field, replace

import pytest

from app.domain.errors import IllegalTransition
from app.domain.rounds import Participation, RoundStatus
from app.domain.summaries import TargetDoubt
from app.domain.tasks import TaskRun
from app.metrics import Metrics
from app.services.fleet.roster import LatestRoster
from app.services.rounds.ending import SKIPPED_TOGETHER, RoundEnding, note_changes
from app.services.rounds.known import Completed
from app.services.rounds.past import PastRounds
from app.services.rounds.record import TrackRecord
from app.services.tasks.breakers import Breakers
from app.store.database import Database
from tcsfeel.aggregation.goals import Goal
from tests.clocks import FakeClock
from tests.services.fakes import Highest, metrics
from tests.services.rounds.stored import begun, client_of, told
from tests.store.samples import NOW, a_round, training

GOAL = Goal(target=0.9)
SILENT = TaskRun(attempts=1, bytes_sent=30, asked_at=NOW, started_at=NOW)
"""A task whose client has had it from the beginning, and has not answered."""


@dataclass
class Desk:
    """What ends rounds, and the trainings of which it has announced an end."""

    db: Database
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW + 100.0))
    counts: Metrics = field(default_factory=metrics)
    announced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        record = TrackRecord(
            self.clock, Breakers(self.db, self.clock, self.counts, Highest()), PastRounds(), LatestRoster()
        )
        self.ending = RoundEnding(self.clock, record, self.counts, self.announced.append)

    def counted(self, name: str, outcome: str) -> float | None:
        return self.counts.registry.get_sample_value(name, {"outcome": outcome})


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def test_who_has_not_answered_is_skipped_and_only_a_client_that_had_its_chance_is_blamed(desk: Desk) -> None:
    round_ = await begun(desk.db, {"a": "received", "b": "training", "c": "pending"}, goal=3)
    async with desk.db.begin() as tx:
        after = await desk.ending.skip_outstanding(tx, round_, "too late", {"b": SILENT})
    assert after is not None
    a, b, c = after.participations
    assert (a.status, b.status, c.status) == ("received", "skipped", "skipped")
    assert (b.reason, b.bytes_sent, b.finished_at) == ("too late", 30, NOW + 100.0)
    assert c.reason == "the server had not asked for its answer yet when the round continued"
    assert (await client_of(desk.db, "b")).measured.reliability == pytest.approx(0.9 * 0.7)
    assert (await client_of(desk.db, "c")).measured.reliability is None
    events = {(event.type, event.client_id) for event in await told(desk.db)}
    assert events == {("participation.skipped", "b"), ("participation.skipped", "c")}
    assert desk.counted("federated_participations_total", "skipped") == 2.0


@pytest.mark.parametrize(
    "case", [{"goal": 1, "at_fault": True}, {"goal": 2, "at_fault": False}], ids=["goal met", "the server is at fault"]
)
async def test_no_client_is_blamed_without_need(desk: Desk, case: dict[str, int]) -> None:
    round_ = await begun(desk.db, {"a": "received", "b": "training"}, goal=case["goal"])
    async with desk.db.begin() as tx:
        after = await desk.ending.skip_outstanding(tx, round_, "why", {"b": SILENT}, at_fault=bool(case["at_fault"]))
    assert after is not None
    assert after.participations[1].reason == "why"
    assert (await client_of(desk.db, "b")).measured.reliability is None


async def test_many_clients_need_several_transactions(desk: Desk) -> None:
    names = [f"c{number:03}" for number in range(SKIPPED_TOGETHER + 1)]
    round_ = await begun(desk.db, dict.fromkeys(names, "training"))
    async with desk.db.begin() as tx:
        assert await desk.ending.cancel(tx, round_, GOAL) is None
    async with desk.db.begin() as tx:
        assert [part.client_id for part in await tx.rounds.outstanding("t", 1, limit=9)] == names[-1:]
        ended = await desk.ending.cancel(tx, round_, GOAL)
    assert ended is not None
    assert {part.status for part in ended.participations} == {"skipped"}


async def test_a_round_that_is_closed_has_its_time_its_bytes_its_speed_and_its_fairness(desk: Desk) -> None:
    before = a_round(status="completed", goal_value=0.5, ended_at=NOW + 90.0)
    round_ = await begun(
        desk.db, {"a": "received", "b": "failed"}, number=2, status="evaluating", communication_bytes=1
    )
    first, second = round_.participations
    measured = Participation(kind="evaluate", client_id="a", status="received", bytes_sent=10, bytes_received=5)
    round_ = replace(
        round_,
        participations=(replace(first, bytes_sent=200, bytes_received=100), second),
        evaluations=(measured,),
        goal_value=0.7,
        target_doubt=TargetDoubt("a", 0.4),
    )
    async with desk.db.begin() as tx:
        await tx.rounds.add(before)
        closed, completed = await desk.ending.close(tx, round_, "measured", GOAL)
    async with desk.db.read() as tx:
        stored = await tx.rounds.get("t", 2)
    for one in (closed, stored):
        assert (one.status, one.ended_at, one.communication_bytes) == ("completed", NOW + 100.0, 316)
        assert one.convergence_speed == pytest.approx((0.7 - 0.5) / 10.0)
        assert one.fairness == pytest.approx(0.5)  # of 1 and 0
    types = [event.type for event in await told(desk.db)]
    assert types == ["round.target_doubted", "round.completed"]
    assert completed == Completed(2, 0.7, NOW + 100.0)


async def test_completed_rounds_that_are_known_are_not_read(desk: Desk) -> None:
    round_ = await begun(desk.db, {"a": "received"}, number=2, status="evaluating")
    async with desk.db.begin() as tx:
        closed, completed = await desk.ending.close(
            tx, replace(round_, goal_value=0.7), "measured", GOAL, Completed(5, 0.5, NOW + 90.0)
        )
    assert closed.convergence_speed == pytest.approx((0.7 - 0.5) / 10.0)
    assert completed == Completed(6, 0.7, NOW + 100.0)


async def test_a_round_that_was_abandoned_is_not_one_more_that_was_completed(desk: Desk) -> None:
    round_ = await begun(desk.db, {"a": "failed"}, number=2, status="training")
    async with desk.db.begin() as tx:
        before = Completed(5, 0.5, NOW + 90.0)
        assert (await desk.ending.close(tx, round_, "abandoned", GOAL, before))[1] == before


async def test_a_round_that_cannot_end_this_way_stays_as_it_is(desk: Desk) -> None:
    round_ = await begun(desk.db, {"a": "received"}, status="aggregating")
    async with desk.db.begin() as tx:
        with pytest.raises(IllegalTransition):
            await desk.ending.close(tx, round_, "measured", GOAL)
        assert await tx.rounds.get("t", 1) == round_


@pytest.mark.parametrize(("status", "after"), [("training", "abandoned"), ("evaluating", "completed")])
async def test_a_cancelled_round_says_so_and_keeps_a_model_that_it_has_committed(
    desk: Desk, status: RoundStatus, after: RoundStatus
) -> None:
    round_ = await begun(desk.db, {"a": "training"}, status=status, model="0" * 64)
    async with desk.db.begin() as tx:
        ended = await desk.ending.cancel(tx, round_, GOAL)
    assert ended is not None
    assert (ended.status, ended.failure_reason, ended.model) == (after, "the training was cancelled", "0" * 64)
    assert [part.reason for part in ended.participations] == ["the training was cancelled"]
    assert (await client_of(desk.db, "a")).measured.reliability is None


async def test_a_round_that_has_ended_is_counted_and_announced(desk: Desk) -> None:
    ended = a_round(status="completed", ended_at=NOW + 11.0, goal_value=0.7)
    desk.ending.count(ended, GOAL)
    assert desk.announced == ["t"]
    assert desk.counted("federated_rounds_total", "completed") == 1.0
    assert desk.counted("federated_round_duration_seconds_sum", "completed") == 10.0


async def test_a_change_of_a_training_is_told_and_no_change_is_not(db: Database) -> None:
    running = training(status="running")
    async with db.begin() as tx:
        await note_changes(tx, running, running)
        await note_changes(tx, running, replace(running, status="completed", stop_reason="target"))
    assert [(event.type, event.data["reason"]) for event in await told(db)] == [("training.completed", "target")]
