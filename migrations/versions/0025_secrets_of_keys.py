"""Which of the server's secrets has made the hash of a key.

Keys that exist keep null until they are used again.

Revision ID: 0025
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("secret_id", sa.String(16)))


def downgrade() -> None:
    op.drop_column("api_keys", "secret_id")
