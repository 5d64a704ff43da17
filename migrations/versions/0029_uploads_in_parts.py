"""Results that come in parts, the last body that was sent of a task, and an index on the deadlines of tasks.

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("sent_seconds", sa.Double()))
    op.add_column("tasks", sa.Column("sent_digest", sa.String(64)))
    op.add_column("tasks", sa.Column("moved_at", sa.Double()))
    op.create_index("ix_tasks_deadline_at", "tasks", ["deadline_at"])
    op.create_table(
        "upload_parts",
        sa.Column("task_id", sa.String(256), nullable=False),
        sa.Column("begins", sa.BigInteger, nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "begins", name="pk_upload_parts"),
    )
    op.create_index("ix_upload_parts_sha256", "upload_parts", ["sha256"])


def downgrade() -> None:
    op.drop_table("upload_parts")
    op.drop_index("ix_tasks_deadline_at", "tasks")
    op.drop_column("tasks", "moved_at")
    op.drop_column("tasks", "sent_digest")
    op.drop_column("tasks", "sent_seconds")
