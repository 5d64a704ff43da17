"""The encoding that each round offers to its agents for updates.

Rounds that exist keep null, because the configuration of their trainings may have changed since.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rounds", sa.Column("update_encoding", sa.String(16)))


def downgrade() -> None:
    op.drop_column("rounds", "update_encoding")
