"""Evaluations are participations of their own kind, failures are counted, and tracebacks are kept.

The evaluations that rounds had as one document become rows, so that what was measured before reads as it did.

Revision ID: 0015
Revises: 0014
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
BATCH = 200
KEPT = ("status", "attempts", "reason", "num_examples", "loss", "accuracy", "bytes_sent", "bytes_received", "seconds")
NEVER = {"attempts": 0, "bytes_sent": 0, "bytes_received": 0}

Document = dict[str, Any]

rounds = sa.table(
    "rounds",
    sa.column("training_id", sa.String),
    sa.column("number", sa.Integer),
    sa.column("ended_at", sa.Double),
    sa.column("evaluations", JSON),
)
participations = sa.table(
    "participations",
    sa.column("training_id", sa.String),
    sa.column("round", sa.Integer),
    sa.column("kind", sa.String),
    sa.column("client_id", sa.String),
    sa.column("status", sa.String),
    sa.column("attempts", sa.Integer),
    sa.column("reason", sa.Text),
    sa.column("num_examples", sa.BigInteger),
    sa.column("loss", sa.Double),
    sa.column("accuracy", sa.Double),
    sa.column("bytes_sent", sa.BigInteger),
    sa.column("bytes_received", sa.BigInteger),
    sa.column("seconds", sa.Double),
    sa.column("score", sa.Double),
    sa.column("components", JSON),
    sa.column("rank", sa.Integer),
    sa.column("finished_at", sa.Double),
    sa.column("metrics", JSON),
)


def upgrade() -> None:
    op.add_column("clients", sa.Column("failures", JSON))
    with op.batch_alter_table("participations") as table:
        table.add_column(sa.Column("kind", sa.String(16), nullable=False, server_default="fit"))
        table.add_column(sa.Column("traceback", sa.Text()))
        table.drop_constraint("pk_participations", type_="primary")
        table.create_primary_key("pk_participations", ["training_id", "round", "kind", "client_id"])
    for training_id, number, ended_at, documents in _rounds(rounds.c.evaluations):
        if documents:
            rows = [_row(document, ended_at) | {"rank": rank} for rank, document in enumerate(documents)]
            op.bulk_insert(participations, [{"training_id": training_id, "round": number, **row} for row in rows])
    op.drop_column("rounds", "evaluations")


def downgrade() -> None:
    """Evaluations that have not ended are left out: the older version asks for them again."""
    op.add_column("rounds", sa.Column("evaluations", JSON, nullable=False, server_default="[]"))
    database = op.get_bind()
    for training_id, number, _ in _rounds():
        found = _of_round(training_id, number)
        ended = participations.c.status.not_in(["pending", "training"])
        columns = [participations.c[name] for name in ("client_id", *KEPT, "metrics")]
        query = sa.select(*columns).where(found, ended).order_by(participations.c.rank)
        documents = [dict(row) for row in database.execute(query).mappings()]
        if documents:
            same = (rounds.c.training_id == training_id) & (rounds.c.number == number)
            database.execute(sa.update(rounds).where(same).values(evaluations=documents))
    database.execute(sa.delete(participations).where(participations.c.kind == "evaluate"))
    with op.batch_alter_table("participations") as table:
        table.drop_constraint("pk_participations", type_="primary")
        table.create_primary_key("pk_participations", ["training_id", "round", "client_id"])
        table.drop_column("kind")
        table.drop_column("traceback")
    op.drop_column("clients", "failures")


def _rounds(*columns: sa.ColumnElement[Any]) -> Any:
    """Yield the key and the end of every round, and some columns, a batch at a time in the order of the keys."""
    key = (rounds.c.training_id, rounds.c.number)
    after: tuple[Any, ...] | None = None
    while True:
        query = sa.select(*key, rounds.c.ended_at, *columns).order_by(*key).limit(BATCH)
        if after is not None:
            query = query.where(sa.tuple_(*key) > sa.tuple_(*after))
        rows = op.get_bind().execute(query).all()
        yield from rows
        if len(rows) < BATCH:
            return
        after = tuple(rows[-1][:2])


def _row(document: Document, ended_at: float | None) -> Document:
    """Make a participation of an evaluation. Early ones have no metrics."""
    kept = NEVER | {name: document.get(name) for name in KEPT if document.get(name) is not None}
    return (
        dict.fromkeys(KEPT)
        | kept
        | {
            "kind": "evaluate",
            "client_id": document["client_id"],
            "score": 0.0,
            "components": {},
            "finished_at": ended_at,
            "metrics": document.get("metrics") or {},
        }
    )


def _of_round(training_id: str, number: int) -> sa.ColumnElement[bool]:
    key = (participations.c.training_id == training_id) & (participations.c.round == number)
    return key & (participations.c.kind == "evaluate")
