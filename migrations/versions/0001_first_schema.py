"""Make the first schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "clients",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("data_size", sa.BigInteger(), nullable=False),
        sa.Column("data_distribution", JSON, nullable=True),
        sa.Column("compute_capacity", sa.Double(), nullable=False),
        sa.Column("bandwidth", sa.Double(), nullable=False),
        sa.Column("latency", sa.Double(), nullable=False),
        sa.Column("reliability", sa.Double(), nullable=False),
        sa.Column("server_cost", sa.Double(), nullable=True),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("auth_token", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("measured", JSON, nullable=False),
        sa.Column("breaker", JSON, nullable=False),
        sa.Column("rounds_selected", sa.Integer(), nullable=False),
        sa.Column("rounds_completed", sa.Integer(), nullable=False),
        sa.Column("last_seen_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clients")),
    )
    op.create_table(
        "connectivity",
        sa.Column("version", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("client_ids", JSON, nullable=False),
        sa.Column("links", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_connectivity")),
    )
    op.create_table(
        "events",
        sa.Column("id", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("training_id", sa.String(length=64), nullable=True),
        sa.Column("round", sa.Integer(), nullable=True),
        sa.Column("client_id", sa.String(length=64), nullable=True),
        sa.Column("data", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_training_id_id", "events", ["training_id", "id"], unique=False)

    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "trainings",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("stop_reason", sa.String(length=32), nullable=True),
        sa.Column("stop_detail", sa.Text(), nullable=True),
        sa.Column("current_round", sa.Integer(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("best_accuracy", sa.Double(), nullable=True),
        sa.Column("model", sa.String(length=64), nullable=True),
        sa.Column("stop_after", sa.Integer(), nullable=True),
        sa.Column("failed_in_row", sa.Integer(), nullable=False),
        sa.Column("next_round_at", sa.Double(), nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=True),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trainings")),
    )
    op.create_index("ix_trainings_created_at_id", "trainings", ["created_at", "id"], unique=False)
    op.create_index("ix_trainings_status", "trainings", ["status"], unique=False)

    op.create_table(
        "model_versions",
        sa.Column("training_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("parent", sa.String(length=64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name=op.f("fk_model_versions_training_id_trainings"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("training_id", "round", name=op.f("pk_model_versions")),
    )
    op.create_table(
        "rounds",
        sa.Column("training_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("deadline_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("connectivity_version", sa.BigInteger(), nullable=True),
        sa.Column("plan", JSON, nullable=True),
        sa.Column("goal", sa.Integer(), nullable=True),
        sa.Column("base_model", sa.String(length=64), nullable=True),
        sa.Column("model", sa.String(length=64), nullable=True),
        sa.Column("average_accuracy", sa.Double(), nullable=True),
        sa.Column("average_loss", sa.Double(), nullable=True),
        sa.Column("communication_cost", sa.Double(), nullable=True),
        sa.Column("communication_bytes", sa.BigInteger(), nullable=False),
        sa.Column("convergence_speed", sa.Double(), nullable=True),
        sa.Column("fairness", sa.Double(), nullable=True),
        sa.Column("label_divergence", sa.Double(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name=op.f("fk_rounds_training_id_trainings"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("training_id", "number", name=op.f("pk_rounds")),
    )
    op.create_index("ix_rounds_status", "rounds", ["status"], unique=False)

    op.create_table(
        "participations",
        sa.Column("training_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("num_examples", sa.BigInteger(), nullable=True),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("bytes_sent", sa.BigInteger(), nullable=False),
        sa.Column("bytes_received", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("components", JSON, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("update", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["training_id", "round"],
            ["rounds.training_id", "rounds.number"],
            name=op.f("fk_participations_training_id_round_rounds"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("training_id", "round", "client_id", name=op.f("pk_participations")),
    )
    op.create_index("ix_participations_client_id", "participations", ["client_id"], unique=False)
    op.create_index("ix_participations_status", "participations", ["status"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_participations_status", table_name="participations")
    op.drop_index("ix_participations_client_id", table_name="participations")

    op.drop_table("participations")
    op.drop_index("ix_rounds_status", table_name="rounds")

    op.drop_table("rounds")
    op.drop_table("model_versions")
    op.drop_index("ix_trainings_status", table_name="trainings")
    op.drop_index("ix_trainings_created_at_id", table_name="trainings")

    op.drop_table("trainings")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_events_training_id_id", table_name="events")

    op.drop_table("events")
    op.drop_table("connectivity")
    op.drop_table("clients")
