"""Store the duration of a lease, so that an end that is later than possible is not believed.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trainings", sa.Column("lease_seconds", sa.Double(), nullable=False, server_default="600"))


def downgrade() -> None:
    op.drop_column("trainings", "lease_seconds")
