"""The number of local steps that an update took, and how many clients could be selected for a round.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("participations", sa.Column("num_steps", sa.BigInteger()))
    op.add_column("rounds", sa.Column("population", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("rounds", "population")
    op.drop_column("participations", "num_steps")
