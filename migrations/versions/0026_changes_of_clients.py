"""Numbers of the changes of clients, so that a server reads only those that are new to it.

Clients that exist have the number 0 until they change.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clients", sa.Column("change", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("ix_clients_change", "clients", ["change"])


def downgrade() -> None:
    op.drop_index("ix_clients_change", "clients")
    op.drop_column("clients", "change")
