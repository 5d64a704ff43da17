"""Many rows are written as SQLAlchemy would write them, and refused as it would refuse them."""

from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import StatementError

from app.store.columns import refuses
from app.store.database import Database
from app.store.many import ManyRows
from app.store.tables import participations
from tests.store.samples import a_round, training

NAMES = ["whose", "status", "metrics", "loss", "reason", "evidence"]
CHANGE = ManyRows(update(participations).where(participations.c.client_id == bindparam("whose")), NAMES)


async def begin(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training("t"))
        await tx.rounds.add(a_round("t", 1))


def row(client_id: str, **said: Any) -> dict[str, Any]:
    return {"training_id": "t", "round": 1, "client_id": client_id, "status": "training", "attempts": 0, "rank": 0,
            "bytes_sent": 0, "bytes_received": 0, "score": 0.0, "components": {"é": 0.5}} | said  # fmt: skip


async def test_rows_are_added_and_changed_with_the_types_of_their_columns(db: Database) -> None:
    await begin(db)
    added = ManyRows(insert(participations), row("a").keys())
    changed = {"status": "failed", "metrics": {"rmse": 1.5}, "loss": 0.25, "reason": "no\x00 data", "evidence": None}
    async with db.begin() as tx:
        await added.write(tx.connection, [row("a"), row("b")])
        await CHANGE.write(tx.connection, [{"whose": "b", **changed}])
    async with db.read() as tx:
        found = {one.client_id: one for one in await tx.connection.execute(select(participations))}
    assert (found["a"].status, found["a"].components, found["a"].loss) == ("training", {"é": 0.5}, None)
    assert {name: getattr(found["b"], name) for name in changed} == {**changed, "reason": "no data"}


@pytest.mark.parametrize(
    "wrong",
    [{"loss": float("nan")}, {"loss": 10**400}, {"metrics": {"rmse": float("inf")}}],
    ids=["loss", "large", "json"],
)
async def test_a_value_that_cannot_be_stored_is_refused(db: Database, wrong: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"status": "failed", "metrics": {}, "loss": None, "reason": None, "evidence": None}
    with pytest.raises(StatementError) as refused:
        async with db.begin() as tx:
            await CHANGE.write(tx.connection, [{"whose": "a", **whole, **wrong}])
    assert refuses(refused.value)
