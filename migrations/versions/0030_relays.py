"""Which clients relay updates, and the relay that brought an update.

Revision ID: 0030
Revises: 0032
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clients", sa.Column("relay", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("participations", sa.Column("relay", sa.String(64)))


def downgrade() -> None:
    op.drop_column("participations", "relay")
    op.drop_column("clients", "relay")
