"""What trainings and rounds of before goals are, once they have been brought up to date."""

import json
from typing import Any

from alembic import command
from sqlalchemy import Connection, text

from app.domain.summaries import TargetDoubt
from app.store import migrations
from app.store.database import Database
from tcsfeel.aggregation.goals import Goal

TRAINING = (
    "INSERT INTO trainings (id, config, status, current_round, accuracy, best_accuracy, failed_in_row, next_round_at,"
    " fence, created_at, updated_at) VALUES (:id, :config, 'paused', :rounds, :accuracy, :best, 0, 0, 1, 1, 1)"
)
ROUND = (
    "INSERT INTO rounds (training_id, number, status, seed, started_at, deadline_at, average_accuracy, target_doubt,"
    " communication_bytes) VALUES (:training_id, :number, 'completed', 1, 1, 2, :accuracy, :doubt, 0)"
)
MANY = 1_001  # rounds, which are more than are rewritten at once


def to_revision(revision: str, *, down: bool = False) -> Any:
    def move(connection: Connection) -> None:
        config = migrations.config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)

    return move


async def filled(url: str) -> Database:
    """A database of the version before, with trainings that have run."""
    db = Database(url, foreign_keys=False)
    async with db.begin() as tx:
        await tx.connection.run_sync(to_revision("0013"))
        for name, target, best in (("a", 0.1 + 0.2, 0.75), ("b", 0.9, None)):
            config = json.dumps({"name": name, "target_accuracy": target, "seed": 7})
            row = {"id": name, "config": config, "rounds": MANY, "accuracy": best and 0.5, "best": best}
            await tx.connection.execute(text(TRAINING), row)
        rows = [
            {
                "training_id": "a",
                "number": number,
                "accuracy": 0.75 if number in {3, 5} else 0.5,
                "doubt": json.dumps({"client_id": f"c{number}", "accuracy": 0.25}),
            }
            for number in range(1, MANY + 1)
        ]
        await tx.connection.execute(text(ROUND), rows)
    return db


async def test_a_target_accuracy_becomes_a_goal_and_the_history_reads_as_before(blank_database_url: str) -> None:
    db = await filled(blank_database_url)
    await migrations.upgrade(blank_database_url)
    async with db.read() as tx:
        training, unmeasured = await tx.trainings.get("a"), await tx.trainings.get("b")
        rounds = [await tx.rounds.get("a", number) for number in (1, 3, MANY)]
    await db.dispose()
    assert training.config.goal == Goal(metric="accuracy", mode="max", target=0.1 + 0.2), "to the bit"
    assert (training.config.name, training.config.seed) == ("a", 7)
    assert (training.accuracy, training.goal_value) == (0.5, 0.5)
    assert (training.best_accuracy, training.best_value, training.best_round) == (0.75, 0.75, 3)
    assert (unmeasured.config.goal.target, unmeasured.goal_value, unmeasured.best_round) == (0.9, None, None)
    assert [(one.average_accuracy, one.goal_value) for one in rounds] == [(0.5, 0.5), (0.75, 0.75), (0.5, 0.5)]
    assert [one.target_doubt for one in rounds] == [TargetDoubt(f"c{number}", 0.25) for number in (1, 3, MANY)]
    assert all(one.metrics == {} == one.training_metrics for one in rounds)


async def test_the_way_back_gives_the_target_accuracy_again(blank_database_url: str) -> None:
    db = await filled(blank_database_url)
    await migrations.upgrade(blank_database_url)
    async with db.begin() as tx:
        await tx.connection.run_sync(to_revision("0013", down=True))
        found = (await tx.connection.execute(text("SELECT config FROM trainings ORDER BY id"))).scalars().all()
        doubts = (await tx.connection.execute(text("SELECT target_doubt FROM rounds"))).scalars().all()
    await db.dispose()
    configs = [one if isinstance(one, dict) else json.loads(one) for one in found]
    assert [one["target_accuracy"] for one in configs] == [0.1 + 0.2, 0.9]
    assert all("goal" not in one for one in configs)
    keys = {frozenset(one if isinstance(one, dict) else json.loads(one)) for one in doubts}
    assert keys == {frozenset({"client_id", "accuracy"})}
