"""The evaluations of rounds before they became participations, once they have been brought up to date, and back."""

import json
from typing import Any

from sqlalchemy import text

from app.domain.rounds import Participation, Round
from app.store import migrations
from app.store.database import Database
from tests.store.test_migrated_goals import TRAINING, to_revision

BEFORE = "0014"
MANY = 401  # rounds, which are more than are read at once
ROUND = (
    "INSERT INTO rounds (training_id, number, status, seed, started_at, deadline_at, ended_at, evaluations,"
    " communication_bytes) VALUES ('a', :number, 'completed', 1, 1, 2, 1.5, :evaluations, 0)"
)
PART = (
    "INSERT INTO participations (training_id, round, client_id, status, attempts, bytes_sent, bytes_received, score,"
    " components, rank) VALUES ('a', :number, 'b', 'received', 1, 7, 8, 0.5, '{}', 0)"
)
MEASURED: dict[str, Any] = {
    "client_id": "b", "status": "received", "attempts": 1, "reason": None, "num_examples": 10**13, "loss": 1e15,
    "accuracy": 0.1 + 0.2, "seconds": 0.25, "bytes_sent": 2**40, "bytes_received": 3, "metrics": {"rmse": 1e15},
}  # fmt: skip
EARLY = {name: entry for name, entry in MEASURED.items() if name != "metrics"} | {
    "client_id": "a", "status": "skipped", "reason": "it has no held-out examples", "loss": None, "num_examples": 0,
}  # fmt: skip


async def filled(url: str) -> Database:
    """A database of the version before, whose rounds name their evaluations in an order of their own."""
    db = Database(url, foreign_keys=False)
    async with db.begin() as tx:
        await tx.connection.run_sync(to_revision(BEFORE))
        config = json.dumps({"name": "a", "seed": 7})
        row = {"id": "a", "config": config, "rounds": MANY, "accuracy": None, "best": None}
        await tx.connection.execute(text(TRAINING), row)
        documents = {1: [MEASURED, EARLY], 2: []}
        rows = [
            {"number": number, "evaluations": json.dumps(documents.get(number, [MEASURED]))}
            for number in range(1, MANY + 1)
        ]
        await tx.connection.execute(text(ROUND), rows)
        await tx.connection.execute(text(PART), rows)
    return db


async def rounds_of(db: Database) -> list[Round]:
    async with db.read() as tx:
        return [await tx.rounds.get("a", number) for number in (1, 2, MANY)]


async def test_the_evaluations_of_before_read_as_they_did(blank_database_url: str) -> None:
    db = await filled(blank_database_url)
    await migrations.upgrade(blank_database_url)
    first, second, last = await rounds_of(db)
    await db.dispose()
    of_b = Participation(kind="evaluate", finished_at=1.5, **MEASURED)
    of_a = Participation(kind="evaluate", finished_at=1.5, **EARLY)
    assert (first.evaluations, second.evaluations, last.evaluations) == ((of_b, of_a), (), (of_b,))
    for one in (first, second, last):
        (part,) = one.participations
        assert (part.client_id, part.kind, part.bytes_sent, part.score) == ("b", "fit", 7, 0.5)


async def test_the_way_back_gives_the_documents_again(blank_database_url: str) -> None:
    db = await filled(blank_database_url)
    await migrations.upgrade(blank_database_url)
    under_way = Participation(kind="evaluate", client_id="c", status="training")
    async with db.begin() as tx:
        await tx.rounds.add_evaluations(Round(**(_key(2) | {"evaluations": (under_way,)})))
        await tx.connection.run_sync(to_revision(BEFORE, down=True))
        query = "SELECT evaluations FROM rounds WHERE number < 3 ORDER BY number"
        found = (await tx.connection.execute(text(query))).scalars().all()
        parts = (await tx.connection.execute(text("SELECT count(*) FROM participations"))).scalar_one()
    await db.dispose()
    first, second = (json.loads(one) if isinstance(one, str) else one for one in found)
    assert first == [MEASURED, EARLY | {"metrics": {}}]
    assert second == [], "what had not ended is asked for again"
    assert parts == MANY


def _key(number: int) -> dict[str, Any]:
    return {
        "training_id": "a", "number": number, "status": "evaluating", "seed": 1, "started_at": 1.0, "deadline_at": 2.0,
    }  # fmt: skip
