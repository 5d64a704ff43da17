"""The costs of tasks whose round was taken from its owner: they are stored once, and only while the training rests."""

from typing import Any

import pytest

from app.domain.rounds import Participation, Round, RoundStatus
from app.domain.tasks import TaskRun
from app.domain.trainings import TrainingConfig, TrainingStatus
from app.services.rounds.costs import Costs, Spent, charge
from app.services.rounds.phase import Phase
from app.store.database import Database
from app.store.leases import Lease
from tcsfeel.wire.tasks import TaskKind
from tests.services.rounds.stored import begun
from tests.store.samples import a_round

RUN = TaskRun(attempts=1, bytes_sent=30, bytes_received=4)
NOTHING: Any = None  # what a task needs, and its costs do not


def phase(round_: Round, kind: TaskKind, **runs: TaskRun) -> Phase:
    return Phase(
        lease=Lease(round_.training_id, "us", 1),
        round_=round_,
        kind=kind,
        config=TrainingConfig(name="test"),
        model=NOTHING,
        size=NOTHING,
        spool=NOTHING,
        budget=NOTHING,
        deadline=0.0,
        runs=runs,
    )


def test_the_tasks_of_a_round_are_taken_once_and_those_of_an_earlier_round_are_forgotten() -> None:
    costs, first, second = Costs(NOTHING), a_round(number=1), a_round(number=2)
    costs.begin(phase(first, "fit", a=RUN))
    costs.begin(phase(second, "fit", b=RUN))
    costs.begin(phase(second, "evaluate", c=RUN))
    assert costs.take(second) == Spent({"b": RUN}, {"c": RUN})
    assert costs.take(second) == Spent()
    costs.begin(phase(first, "fit", a=RUN))
    assert costs.take(second) == Spent()


@pytest.mark.parametrize(
    ("training_status", "status", "added"),
    [("paused", "evaluating", 0), ("cancelled", "completed", 64), ("running", "evaluating", 0)],
)
async def test_costs_are_stored_with_a_round_whose_training_rests(
    db: Database, training_status: TrainingStatus, status: RoundStatus, added: int
) -> None:
    """The end of a round adds its participations up, so that only those of an ended round are added to its bytes."""
    evaluations = (Participation(kind="evaluate", client_id="a", status="training"),)
    given: dict[str, Any] = {"training_status": training_status, "status": status, "evaluations": evaluations}
    round_ = await begun(db, {"a": "skipped"}, communication_bytes=5, **given)
    costs = Costs(db)
    costs.begin(phase(round_, "fit", a=TaskRun(attempts=2, bytes_sent=30)))
    costs.begin(phase(round_, "evaluate", a=RUN))
    await costs.store(round_)
    async with db.read() as tx:
        stored = await tx.rounds.get(round_.training_id, round_.number)
    assert stored.communication_bytes == 5 + added
    charged = [(part.attempts, part.bytes_sent) for part in stored.participations]
    assert charged == [(0, 0) if training_status == "running" else (2, 30)]
    (evaluation,) = stored.evaluations
    assert evaluation.bytes_received == (0 if training_status == "running" else 4)
    assert costs.take(round_) == Spent()


async def test_nothing_is_stored_once_the_training_has_another_round(db: Database) -> None:
    round_ = await begun(db, {"a": "skipped"}, training_status="paused", status="abandoned")
    async with db.begin() as tx:
        await tx.rounds.add(a_round(number=2))
    costs = Costs(db)
    costs.begin(phase(round_, "fit", a=RUN))
    await costs.store(round_)
    async with db.read() as tx:
        assert await tx.rounds.get(round_.training_id, round_.number) == round_


async def test_a_charge_gives_the_bytes_that_were_not_stored_before(db: Database) -> None:
    round_ = await begun(db, {"a": "received", "b": "training"})
    async with db.begin() as tx:
        assert await charge(tx, round_, {"a": RUN}) == 34
        assert await charge(tx, round_, {"a": RUN}) == 0
        assert await charge(tx, round_, {"a": TaskRun(bytes_sent=31), "b": RUN}) == 35
        stored = await tx.rounds.get(round_.training_id, round_.number)
    assert [(part.bytes_sent, part.bytes_received) for part in stored.participations] == [(31, 4), (30, 4)]
