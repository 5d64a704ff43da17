"""Store which model versions are kept, and which files may be removed.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trainings", sa.Column("tidied_at", sa.Double()))
    op.add_column("model_versions", sa.Column("pinned_at", sa.Double()))
    op.add_column("model_versions", sa.Column("removed_at", sa.Double()))
    op.create_index("ix_model_versions_sha256", "model_versions", ["sha256"])
    op.create_index("ix_model_versions_optimiser_state", "model_versions", ["optimiser_state"])
    op.create_table(
        "removals",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("requested_at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("removed_at", sa.Double()),
        sa.PrimaryKeyConstraint("sha256", name="pk_removals"),
    )


def downgrade() -> None:
    op.drop_table("removals")
    op.drop_index("ix_model_versions_optimiser_state", "model_versions")
    op.drop_index("ix_model_versions_sha256", "model_versions")
    op.drop_column("model_versions", "removed_at")
    op.drop_column("model_versions", "pinned_at")
    op.drop_column("trainings", "tidied_at")
