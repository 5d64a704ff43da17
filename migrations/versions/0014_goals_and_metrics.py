"""Store a goal for each training, on any metric, and the metrics that clients measured.

A target accuracy becomes a goal on the accuracy. Accuracies that were measured before stay where they are, and are also
stored as the values of that goal.

Revision ID: 0014
Revises: 0013
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
BATCH = 500

Document = dict[str, Any]

trainings = sa.table("trainings", sa.column("id", sa.String), sa.column("config", JSON))
rounds = sa.table(
    "rounds",
    sa.column("training_id", sa.String),
    sa.column("number", sa.Integer),
    sa.column("target_doubt", JSON),
)


def upgrade() -> None:
    op.add_column("trainings", sa.Column("goal_value", sa.Double()))
    op.add_column("trainings", sa.Column("best_value", sa.Double()))
    op.add_column("trainings", sa.Column("best_round", sa.Integer()))
    op.add_column("trainings", sa.Column("plateau_value", sa.Double()))
    op.add_column("trainings", sa.Column("plateau_rounds", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("rounds", sa.Column("goal_value", sa.Double()))
    op.add_column("rounds", sa.Column("metrics", JSON, nullable=False, server_default="{}"))
    op.add_column("rounds", sa.Column("training_metrics", JSON, nullable=False, server_default="{}"))
    op.add_column("participations", sa.Column("metrics", JSON, nullable=False, server_default="{}"))
    op.execute("UPDATE rounds SET goal_value = average_accuracy")
    op.execute(
        "UPDATE trainings SET goal_value = accuracy, best_value = best_accuracy, plateau_value = best_accuracy,"
        " best_round = (SELECT min(number) FROM rounds WHERE rounds.training_id = trainings.id"
        " AND rounds.average_accuracy = trainings.best_accuracy)"
    )
    _rewrite(trainings, ["id"], "config", _with_goal)
    _rewrite(rounds, ["training_id", "number"], "target_doubt", _renamed("accuracy", "mean"))


def downgrade() -> None:
    _rewrite(rounds, ["training_id", "number"], "target_doubt", _renamed("mean", "accuracy"))
    _rewrite(trainings, ["id"], "config", _with_target_accuracy)
    op.drop_column("participations", "metrics")
    for name in ("training_metrics", "metrics", "goal_value"):
        op.drop_column("rounds", name)
    for name in ("plateau_rounds", "plateau_value", "best_round", "best_value", "goal_value"):
        op.drop_column("trainings", name)


def _rewrite(table: sa.TableClause, key: list[str], column: str, change: Callable[[Document], Document]) -> None:
    """Change every document of a column, some rows at a time, in the order of their key."""
    database, document = op.get_bind(), table.c[column]
    columns = [table.c[name] for name in key]
    after: tuple[Any, ...] | None = None
    while True:
        query = sa.select(*columns, document).where(document.is_not(None)).order_by(*columns).limit(BATCH)
        if after is not None:
            query = query.where(sa.tuple_(*columns) > sa.tuple_(*after))
        rows = database.execute(query).all()
        for *found, known in rows:
            same = sa.and_(*(part == value for part, value in zip(columns, found, strict=True)))
            database.execute(sa.update(table).where(same).values({column: change(known)}))
        if len(rows) < BATCH:
            return
        after = tuple(rows[-1][:-1])


def _with_goal(config: Document) -> Document:
    kept = {name: entry for name, entry in config.items() if name != "target_accuracy"}
    target = config.get("target_accuracy", 0.963)
    return kept | {"goal": {"metric": "accuracy", "mode": "max", "target": target, "patience": None, "min_delta": 0.0}}


def _with_target_accuracy(config: Document) -> Document:
    """Return a configuration with a target accuracy. A goal on another metric becomes one that no model reaches."""
    kept = {name: entry for name, entry in config.items() if name != "goal"}
    goal = config.get("goal", {})
    target = goal.get("target") if goal.get("metric") == "accuracy" else None
    return kept | {"target_accuracy": 1.0 if target is None else target}


def _renamed(before: str, after: str) -> Callable[[Document], Document]:
    return lambda document: {after if name == before else name: entry for name, entry in document.items()}
