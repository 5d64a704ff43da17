"""Store why the accuracy of a round was not accepted as reaching the target.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("rounds", sa.Column("target_doubt", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("rounds", "target_doubt")
