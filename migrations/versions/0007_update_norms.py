"""Store how far updates are from their model.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("participations", sa.Column("update_norm", sa.Double()))


def downgrade() -> None:
    op.drop_column("participations", "update_norm")
