"""Store how the evaluation of each client in a round ended.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("rounds", sa.Column("evaluations", JSON, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("rounds", "evaluations")
