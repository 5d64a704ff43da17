"""The SHA-256 of each update as its agent sent it, and the signatures that prove whose update it is.

Updates that exist keep null.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    op.add_column("participations", sa.Column("digest", sa.String(64)))
    op.add_column("participations", sa.Column("evidence", document))


def downgrade() -> None:
    op.drop_column("participations", "evidence")
    op.drop_column("participations", "digest")
