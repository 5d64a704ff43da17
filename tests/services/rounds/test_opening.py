"""The open round of a training, and the begin of the next."""

from dataclasses import replace

import pytest

from app.domain.rounds import ENDED, RoundStatus
from app.services.rounds.opening import begin_round, correct, open_round, prolong
from app.store.database import Database
from tests.store.samples import NOW, a_round, training


@pytest.mark.parametrize(
    ("status", "is_open"), [("selecting", True), ("evaluating", True), *((status, False) for status in sorted(ENDED))]
)
async def test_a_round_is_open_until_it_has_ended(sqlite: Database, status: RoundStatus, is_open: bool) -> None:
    before, last = a_round(number=1), a_round(number=2, status=status)
    async with sqlite.begin() as tx:
        await tx.trainings.add(training())
        assert await open_round(tx, "t") is None
        for value in (before, last):
            await tx.rounds.add(value)
        assert await open_round(tx, "t") == (last if is_open else None)


async def test_a_round_that_begins_is_stored_and_told_and_its_training_is_given_back(sqlite: Database) -> None:
    async with sqlite.begin() as tx:
        await tx.trainings.add(training(current_round=6))
        changed, round_ = await begin_round(tx, training(current_round=6), NOW + 9)
    assert changed == training(current_round=7, updated_at=NOW + 9)
    assert (round_.number, round_.status, round_.deadline_at) == (7, "selecting", NOW + 9 + 600)
    async with sqlite.read() as tx:
        assert await tx.rounds.get("t", 7) == round_
        assert (await tx.trainings.get("t")).current_round == 6, "its caller has more to change of it"
        told = [(event.type, event.round) for event in (await tx.events.after(0, training_id="t", limit=10)).items]
    assert told == [("round.started", 7)]


@pytest.mark.parametrize(("seconds", "later"), [(2.5, 2.5), (0.0, 0.0), (-1.0, 0.0)])
async def test_a_round_is_given_time_and_never_deprived_of_it(sqlite: Database, seconds: float, later: float) -> None:
    round_ = a_round()
    async with sqlite.begin() as tx:
        await tx.trainings.add(training())
        await tx.rounds.add(round_)
        prolonged = await prolong(tx, round_, seconds)
        assert prolonged == replace(round_, deadline_at=round_.deadline_at + later)
        assert await tx.rounds.get("t", 1) == prolonged


async def test_a_deadline_from_before_the_clock_was_set_back_is_corrected(sqlite: Database) -> None:
    round_ = a_round(started_at=NOW, deadline_at=NOW + 60)
    async with sqlite.begin() as tx:
        await tx.trainings.add(training())
        await tx.rounds.add(round_)
        assert await correct(tx, round_, 60.0, NOW + 10) == round_
        corrected = await correct(tx, round_, 60.0, NOW - 3600)
        assert corrected.deadline_at <= NOW - 3600 + 60
        assert await tx.rounds.get("t", 1) == corrected
