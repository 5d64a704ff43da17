"""Clients without an address, and the mailbox with the tasks that their agents ask for.

Clients that exist keep their addresses, and the mailbox is empty.

Revision ID: 0028
Revises: 0027
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
clients = sa.table("clients", sa.column("url", sa.Text))


def upgrade() -> None:
    with op.batch_alter_table("clients") as table:
        table.alter_column("url", existing_type=sa.Text(), nullable=True)
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(256), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("training_id", sa.String(64), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("model", sa.String(64)),
        sa.Column("accept", sa.String(16), nullable=False),
        sa.Column("most_bytes", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("bytes_sent", sa.BigInteger, nullable=False),
        sa.Column("offered_at", sa.Double, nullable=False),
        sa.Column("deadline_at", sa.Double, nullable=False),
        sa.Column("taken_at", sa.Double),
        sa.Column("call", sa.Text),
        sa.Column("delivered_at", sa.Double),
        sa.Column("result", sa.String(64)),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("coding", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("evidence", JSON),
        sa.Column("failure", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
    )
    op.create_index("ix_tasks_client_id", "tasks", ["client_id"])
    op.create_index("ix_tasks_state", "tasks", ["state"])
    op.create_index("ix_tasks_model", "tasks", ["model"])
    op.create_index("ix_tasks_result", "tasks", ["result"])


def downgrade() -> None:
    """Clients without an address get an empty one, which an older version cannot call."""
    op.drop_table("tasks")
    op.get_bind().execute(sa.update(clients).where(clients.c.url.is_(None)).values(url=""))
    with op.batch_alter_table("clients") as table:
        table.alter_column("url", existing_type=sa.Text(), nullable=False)
