"""Tasks that are carried into later rounds, and how stale their updates are.

Revision ID: 0033
Revises: 0030
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0030"
branch_labels = None
depends_on = None

COLUMNS = ("sent_before", "carried_to", "staleness", "base_model", "begun_in")
OPEN = sa.text("status = 'carried' AND carried_to IS NULL")


def upgrade() -> None:
    op.add_column("participations", sa.Column("begun_in", sa.Integer()))
    op.add_column("participations", sa.Column("base_model", sa.String(64)))
    op.add_column("participations", sa.Column("staleness", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("participations", sa.Column("carried_to", sa.Integer()))
    op.add_column("participations", sa.Column("sent_before", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(
        "ix_participations_carried", "participations", ["training_id"], postgresql_where=OPEN, sqlite_where=OPEN
    )


def downgrade() -> None:
    op.execute("UPDATE participations SET status = 'skipped' WHERE status = 'carried'")  # a status that is new here
    op.drop_index("ix_participations_carried", table_name="participations")
    for column in COLUMNS:
        op.drop_column("participations", column)
