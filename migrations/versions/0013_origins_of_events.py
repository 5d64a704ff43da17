"""Store who caused each event, and in which request, and add an index for the events of one client.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("actor", sa.String(length=128), nullable=True))
    op.add_column("events", sa.Column("request_id", sa.String(length=64), nullable=True))
    op.create_index("ix_events_client_id_id", "events", ["client_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_events_client_id_id", table_name="events")
    op.drop_column("events", "request_id")
    op.drop_column("events", "actor")
