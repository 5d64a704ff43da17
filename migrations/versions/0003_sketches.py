"""Store the sketches of updates.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sketches",
        sa.Column("training_id", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name="fk_sketches_training_id_trainings", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("training_id", "client_id", name="pk_sketches"),
    )


def downgrade() -> None:
    op.drop_table("sketches")
