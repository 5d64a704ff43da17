"""Who created each training, the request rates that servers share, and an index for old idempotency keys.

Trainings that exist have no creator, so that they count to no limit.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trainings", sa.Column("created_by", sa.String(128)))
    op.create_index("ix_trainings_created_by_status", "trainings", ["created_by", "status"], unique=False)
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "request_rates",
        sa.Column("caller", sa.String(128), nullable=False),
        sa.Column("server", sa.String(64), nullable=False),
        sa.Column("rate", sa.Double(), nullable=False),
        sa.Column("measured_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "server", name="pk_request_rates"),
    )


def downgrade() -> None:
    op.drop_table("request_rates")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_index("ix_trainings_created_by_status", table_name="trainings")
    op.drop_column("trainings", "created_by")
