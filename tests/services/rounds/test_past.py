"""The past of trainings is what is stored of it, and a round reads only what has ended since the last look."""

from dataclasses import replace

import pytest
from sqlalchemy import delete

from app.domain.rounds import Participation, ParticipationStatus, Round
from app.domain.trainings import Origin
from app.services.rounds import past as module
from app.services.rounds.past import Past, PastRounds
from app.store.database import Database
from app.store.tables import participations
from tests.store.samples import a_round, training


def ended(number: int, training_id: str = "t", **statuses: ParticipationStatus) -> Round:
    parts = tuple(Participation(client_id=name, status=status) for name, status in statuses.items())
    return a_round(training_id, number, status="completed", participations=parts)


async def add(db: Database, *rounds: Round) -> None:
    async with db.begin() as tx:
        for one in rounds:
            if one.number == 1:
                await tx.trainings.add(training(one.training_id))
            await tx.rounds.add(one)
            await tx.rounds.add_participations(one)


async def before(db: Database, past: PastRounds, number: int, training_id: str = "t") -> Past:
    async with db.read() as tx:
        return await past.before(tx, training_id, number)


async def empty(db: Database) -> None:
    async with db.begin() as tx:
        await tx.connection.execute(delete(participations))


async def test_the_past_grows_with_the_rounds_that_end(db: Database) -> None:
    past = PastRounds()
    await add(db, ended(1, a="received", b="failed"))
    assert (await before(db, past, 1)).rounds == ()
    first = await before(db, past, 2)
    assert [one.selected for one in first.rounds] == [{"a", "b"}]
    assert first.received == {"a": 1}
    await add(db, ended(2, a="received", c="received"), ended(3, b="received"))
    assert await before(db, past, 4) == await before(db, PastRounds(), 4)
    assert (await before(db, past, 4)).received == {"a": 2, "b": 1, "c": 1}
    assert await before(db, past, 2) == first


async def test_a_round_that_has_ended_is_read_once(db: Database) -> None:
    past = PastRounds()
    await add(db, ended(1, a="received"))
    first = await before(db, past, 2)
    await empty(db)
    await add(db, ended(2, b="received"))
    both = await before(db, past, 3)
    assert both.rounds[0] == first.rounds[0]
    assert both.received == {"a": 1, "b": 1}


async def test_trainings_have_pasts_of_their_own_and_a_bounded_part_is_remembered(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 6)
    past = PastRounds()
    await add(db, ended(1, a="received"), ended(1, "u", b="received"), ended(1, "v", a="received", c="received"))
    assert (await before(db, past, 2)).received == {"a": 1}
    assert (await before(db, past, 2, "u")).received == {"b": 1}
    await before(db, past, 1, "v")
    assert (await before(db, past, 2)).received == {"a": 1}
    assert (await before(db, past, 2, "v")).received == {"a": 1, "c": 1}, "2 + 2 + 3 are more than 6: u is forgotten"
    await empty(db)
    assert (await before(db, past, 2)).received == {"a": 1}
    assert (await before(db, past, 2, "v")).received == {"a": 1, "c": 1}
    assert (await before(db, past, 2, "u")).received == {}


async def test_a_training_that_is_larger_than_all_that_is_remembered_is_read_once(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 1)
    past = PastRounds()
    await add(db, ended(1, a="received", b="received"))
    first = await before(db, past, 2)
    await empty(db)
    assert await before(db, past, 2) is first


async def test_the_past_of_a_training_that_started_from_another_one_begins_with_that_of_the_other(db: Database) -> None:
    await add(db, ended(1, a="received"), ended(2, b="received"), ended(3, c="received"))
    async with db.begin() as tx:
        await tx.trainings.add(replace(training("u"), origin=Origin(training_id="t", round=2, model="0" * 64)))
        await tx.trainings.add(replace(training("v"), origin=Origin(training_id="u", round=3, model="0" * 64)))
    await add(db, ended(3, "u", d="received"), ended(4, "u", a="received"), ended(4, "v", b="received"))
    past = PastRounds()
    for number, training_id, wanted in [(3, "u", "ab"), (5, "u", "abda"), (5, "v", "abdb"), (4, "t", "abc")]:
        found = await before(db, past, number, training_id)
        assert ["".join(one.selected) for one in found.rounds] == list(wanted), training_id
    assert (await before(db, past, 5, "v")).received == {"a": 1, "b": 2, "d": 1}


async def test_a_training_that_is_driven_elsewhere_is_forgotten(db: Database) -> None:
    past = PastRounds()
    await add(db, ended(1, a="received"))
    await before(db, past, 2)
    past.forget("t")
    past.forget("t")
    await empty(db)
    assert (await before(db, past, 2)).received == {}


async def test_a_round_that_ended_here_is_not_read(db: Database) -> None:
    past = PastRounds()
    first, second = ended(1, a="received"), ended(2, a="received", b="failed")
    told = replace(second.participations[0], loss=0.5, num_examples=7)
    second = replace(second, participations=(told, *second.participations[1:]))
    await add(db, first, second)
    past.ended(first)
    await before(db, past, 2)
    past.ended(second)
    known = await before(db, past, 3)
    assert known.rounds[-1].examples == {"a": 7}
    past.forget("t")
    read = await before(db, past, 3)
    assert read == known
    past.ended(ended(4, c="received"))
    assert await before(db, past, 3) == known
    past.ended(replace(ended(3), participations=()))
    assert (await before(db, past, 4)).rounds == known.rounds
