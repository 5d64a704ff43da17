"""Invitations, the devices that enrolled with them, and the public key of each client's device.

Clients that exist have no public key.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("clients", sa.Column("public_key", sa.String(43)))
    op.add_column("clients", sa.Column("invitation_id", sa.String(64)))
    op.add_column("clients", sa.Column("enrolled_at", sa.Double()))
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(256)),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("id_pattern", sa.String(64)),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("replaces", sa.String(64)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
    )
    op.create_index("ix_invitations_created_at_id", "invitations", ["created_at", "id"])
    op.create_table(
        "enrolments",
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("public_key", sa.String(43), nullable=False),
        sa.Column("invitation_id", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("enrolled_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name="pk_enrolments"),
        sa.UniqueConstraint("public_key", name="uq_enrolments_public_key"),
    )
    op.create_index("ix_enrolments_invitation_id_client_id", "enrolments", ["invitation_id", "client_id"])


def downgrade() -> None:
    op.drop_table("enrolments")
    op.drop_table("invitations")
    op.drop_column("clients", "enrolled_at")
    op.drop_column("clients", "invitation_id")
    op.drop_column("clients", "public_key")
