"""Clients that can do fewer local epochs, and the epochs of their tasks.

Revision ID: 0037
Revises: 0033
"""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clients", sa.Column("elastic", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("participations", sa.Column("local_epochs", sa.Integer()))


def downgrade() -> None:
    op.drop_column("participations", "local_epochs")
    op.drop_column("clients", "elastic")
