"""Store the selections of rounds.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "selections",
        sa.Column("training_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id", "round"],
            ["rounds.training_id", "rounds.number"],
            name="fk_selections_training_id_round_rounds",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("training_id", "round", name="pk_selections"),
    )


def downgrade() -> None:
    op.drop_table("selections")
