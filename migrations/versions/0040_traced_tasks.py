"""Tasks of agents that pull name the step of the trace that has offered them.

Revision ID: 0040
Revises: 0038
"""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("traceparent", sa.String(64)))


def downgrade() -> None:
    op.drop_column("tasks", "traceparent")
