"""The patterns of a training's groups of tensors that match no tensor of its first model.

Trainings that exist keep null: an event says it of those that have such patterns.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("trainings", sa.Column("unmatched", JSON))


def downgrade() -> None:
    op.drop_column("trainings", "unmatched")
