"""Store since when and why a training makes no progress.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trainings", sa.Column("progress_state", sa.String(length=16)))
    op.add_column("trainings", sa.Column("progress_since", sa.Double()))
    op.add_column("trainings", sa.Column("progress_reason", sa.Text()))
    op.add_column("trainings", sa.Column("outage_since", sa.Double()))
    op.add_column("rounds", sa.Column("waiting_since", sa.Double()))
    op.add_column("rounds", sa.Column("waited_seconds", sa.Double(), nullable=False, server_default="0"))
    op.add_column("rounds", sa.Column("step_failures", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("rounds", "step_failures")
    op.drop_column("rounds", "waited_seconds")
    op.drop_column("rounds", "waiting_since")
    op.drop_column("trainings", "outage_since")
    op.drop_column("trainings", "progress_reason")
    op.drop_column("trainings", "progress_since")
    op.drop_column("trainings", "progress_state")
