"""The hyperparameters and the deadline with which each round began, and where a training started from.

Rounds that exist keep null, because the configuration of their trainings may have changed since. No training was
started from another one.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("rounds", sa.Column("hyperparameters", JSON))
    op.add_column("rounds", sa.Column("deadline_seconds", sa.Double()))
    op.add_column("trainings", sa.Column("origin", JSON))


def downgrade() -> None:
    op.drop_column("trainings", "origin")
    op.drop_column("rounds", "deadline_seconds")
    op.drop_column("rounds", "hyperparameters")
