"""How many local steps were asked of clients that handed over a part of them.

Revision ID: 0041
Revises: 0040
"""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("participations", sa.Column("asked_steps", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("participations", "asked_steps")
