"""The weight of each update in a round's mean, and what the weights go by.

Revision ID: 0027
Revises: 0026
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("participations", sa.Column("weight", sa.Double()))
    op.add_column("rounds", sa.Column("weighting", sa.Text()))


def downgrade() -> None:
    op.drop_column("rounds", "weighting")
    op.drop_column("participations", "weight")
