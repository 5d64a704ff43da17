"""Store the states of server optimisers with the model versions.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("optimiser_state", sa.String(length=64)))


def downgrade() -> None:
    op.drop_column("model_versions", "optimiser_state")
