"""What the columns hold, and refuse, the same on both databases."""

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from app.domain.events.clients import ClientRemoved
from app.domain.events.rounds import ParticipationFailed
from app.domain.rounds import Participation
from app.store.columns import refuses, to_json
from app.store.database import Database, in_a_line, is_outage
from app.store.tables import events
from tcsfeel.text import LONGEST, plain
from tcsfeel.wire.tasks import MOST_EXAMPLES
from tests.depth import tries
from tests.store.samples import a_round, training

UNSTORABLE: dict[str, dict[str, Any]] = {
    "NaN": {"at": math.nan},
    "infinity": {"at": math.inf},
    "NaN in JSON": {"data": {"loss": math.nan}},
    "infinity in JSON": {"data": {"loss": -math.inf}},
    "a NUL in JSON": {"data": {"reason": "a\0b"}},
    "a NUL in a key": {"data": {"a\\\0b": 1}},
    "half a character in JSON": {"data": {"reason": ["a\ud800"]}},
    "an object in JSON": {"data": {"reason": object()}},
    "half a character": {"type": "a\udfff"},
    "an integer of many digits": {"round": 10**30},
    "nothing where something must be": {"type": None},
}


@pytest.mark.parametrize("row", UNSTORABLE.values(), ids=UNSTORABLE.keys())
async def test_what_one_database_cannot_store_both_refuse_for_good(db: Database, row: dict[str, Any]) -> None:
    with pytest.raises(SQLAlchemyError) as caught:
        async with db.begin() as tx:
            await tx.connection.execute(insert(events).values({"at": 1.0, "type": "t", "data": {}} | row))
    assert refuses(caught.value)
    assert not is_outage(caught.value)
    assert in_a_line(caught.value).isprintable()
    async with db.begin() as tx:  # and the connection goes on
        await tx.events.append(ClientRemoved(client_id="c"))


async def test_a_key_that_is_taken_is_refused_and_a_mistake_of_ours_is_not(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("t"))
    with pytest.raises(SQLAlchemyError) as taken:
        async with db.begin() as tx:
            await tx.trainings.add(training("t"))
    with pytest.raises(SQLAlchemyError) as mistake:
        async with db.begin() as tx:
            await tx.connection.exec_driver_sql("SELECT nothing FROM nowhere")
    assert (refuses(taken.value), refuses(mistake.value), refuses(ValueError())) == (True, False, False)


@pytest.mark.parametrize(
    "text", ["\\u0000", "\\\\u0000", "\\", "\u2028", "\U0001f600", "\x1b[2J", "\x7f", '"\n'], ids=ascii
)
async def test_text_that_only_looks_strange_is_stored_in_json(db: Database, text: str) -> None:
    async with db.begin() as tx:
        await tx.connection.execute(insert(events).values({"at": 1.0, "type": "t", "data": {text: [text]}}))
    async with db.read() as tx:
        (event,) = (await tx.events.after(0, limit=2)).items
    assert event.data == {text: [text]}


def test_a_nul_is_found_behind_any_number_of_backslashes() -> None:
    for count in range(5):
        with pytest.raises(ValueError, match="NUL"):
            to_json("\\" * count + "\0")
        assert to_json("\\" * count + "u0000")


finite = st.floats(allow_nan=False, allow_infinity=False)


def test_whatever_an_agent_says_is_stored_as_it_came(database_url: str) -> None:
    """Numbers as the same number, over their whole range; reasons as one line that prints."""
    db = Database(database_url)
    with asyncio.Runner() as runner:
        runner.run(_begin(db))
        rounds = iter(range(1, 10_000))

        @tries(30)
        @given(st.integers(1, MOST_EXAMPLES), st.tuples(finite, finite, st.floats(0, 1)), st.text(st.characters()))
        def store(examples: int, numbers: tuple[float, float, float], text: str) -> None:
            loss, seconds, accuracy = numbers
            part = Participation(
                client_id="a",
                status="failed",
                reason=text,
                num_examples=examples,
                loss=loss,
                accuracy=accuracy,
                seconds=seconds,
                score=loss,
                components={"quality": loss},
            )
            runner.run(_comes_back(db, next(rounds), part))

        try:
            store()
        finally:
            runner.run(db.dispose())


async def _begin(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("t"))


async def _comes_back(db: Database, number: int, part: Participation) -> None:
    async with db.begin() as tx:
        round_ = a_round("t", number, participations=(Participation(client_id="a"),))
        await tx.rounds.add(round_)
        await tx.rounds.add_participations(replace(round_, participations=(replace(part, status="pending"),)))
        await tx.rounds.settle("t", number, [part])
        place: dict[str, Any] = {"training_id": "t", "round": number, "client_id": part.client_id}
        await tx.events.append(ParticipationFailed(**place, reason=part.reason, loss=part.loss))
    async with db.read() as tx:
        stored = (await tx.rounds.get("t", number)).participations[0]
        (event,) = (await tx.events.after(number - 1, training_id="t", limit=2)).items
    shown = plain(part.reason or "", LONGEST)
    close = pytest.approx(part.loss, rel=1e-15)  # JSON of Postgres has decimal digits, and no negative zero
    assert stored.components == {"quality": close}
    assert replace(stored, components={}) == replace(part, reason=shown, components={})
    assert (event.data["reason"], event.data["loss"]) == (shown, close)


async def test_a_text_for_people_is_cut(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("t", stop_detail="x" * 10_000))
    async with db.read() as tx:
        assert len((await tx.trainings.get("t")).stop_detail or "") == LONGEST
