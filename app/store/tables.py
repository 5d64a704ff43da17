"""The schema, the same on SQLite and Postgres.

Every instant is a float of unix seconds (ADR 0005). Lists and maps that are only read and written whole are JSON.
Parameters are never here: `sha256` columns name files of the model store.

Long because it is the list of all tables, which is clearest in one place.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.store.columns import Finite, Shown

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_Sequence = BigInteger().with_variant(Integer, "sqlite")  # SQLite increments only a plain INTEGER key
_Id = String(64)
_Sha256 = String(64)
_PublicKey = String(43)

clients = Table(
    "clients",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("url", Text, nullable=False),
    Column("data_size", BigInteger, nullable=False),
    Column("data_distribution", _Json),
    Column("compute_capacity", Finite, nullable=False),
    Column("bandwidth", Finite, nullable=False),
    Column("latency", Finite, nullable=False),
    Column("reliability", Finite, nullable=False),
    Column("server_cost", Finite),
    Column("tags", _Json, nullable=False),
    Column("auth_token", Text),
    Column("status", String(16), nullable=False),
    Column("measured", _Json, nullable=False),
    Column("breaker", _Json, nullable=False),
    Column("failures", _Json),
    Column("identity", _Json),
    Column("rounds_selected", Integer, nullable=False),
    Column("rounds_completed", Integer, nullable=False),
    Column("last_seen_at", Finite),
    Column("created_at", Finite, nullable=False),
    Column("updated_at", Finite, nullable=False),
    Column("public_key", _PublicKey),
    Column("invitation_id", _Id),
    Column("enrolled_at", Finite),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(256)),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("id_pattern", _Id),
    Column("tags", _Json, nullable=False),
    Column("replaces", _Id),
    Column("created_at", Finite, nullable=False),
    Column("expires_at", Finite, nullable=False),
    Column("revoked_at", Finite),
    Index("ix_invitations_created_at_id", "created_at", "id"),
)

# No foreign key to clients: a device enrols before it registers, and a client that is removed keeps its id from others.
enrolments = Table(
    "enrolments",
    metadata,
    Column("client_id", _Id, primary_key=True),
    Column("public_key", _PublicKey, nullable=False),
    Column("invitation_id", _Id, nullable=False),
    Column("key_id", _Id, nullable=False),
    Column("tags", _Json, nullable=False),
    Column("enrolled_at", Finite, nullable=False),
    Index("ix_enrolments_invitation_id_client_id", "invitation_id", "client_id"),
    UniqueConstraint("public_key"),
)

connectivity = Table(
    "connectivity",
    metadata,
    Column("version", _Sequence, primary_key=True, autoincrement=True),
    Column("client_ids", _Json, nullable=False),
    Column("links", LargeBinary, nullable=False),
    Column("created_at", Finite, nullable=False),
)

trainings = Table(
    "trainings",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("config", _Json, nullable=False),
    Column("status", String(16), nullable=False),
    Column("stop_reason", String(32)),
    Column("stop_detail", Shown),
    Column("current_round", Integer, nullable=False),
    Column("accuracy", Finite),
    Column("best_accuracy", Finite),
    Column("goal_value", Finite),
    Column("best_value", Finite),
    Column("best_round", Integer),
    Column("plateau_value", Finite),
    Column("plateau_rounds", Integer, nullable=False, server_default="0"),
    Column("model", _Sha256),
    Column("stop_after", Integer),
    Column("failed_in_row", Integer, nullable=False),
    Column("next_round_at", Finite, nullable=False),
    Column("paused_at", Finite),
    Column("owner", _Id),
    Column("lease_until", Finite, nullable=False, server_default="0"),
    Column("lease_seconds", Finite, nullable=False, server_default="600"),
    Column("fence", BigInteger, nullable=False),
    Column("created_at", Finite, nullable=False),
    Column("updated_at", Finite, nullable=False),
    Column("tidied_at", Finite),
    Column("progress_state", String(16)),
    Column("progress_since", Finite),
    Column("progress_reason", Shown),
    Column("outage_since", Finite),
    Column("origin", _Json),
    Column("unmatched", _Json),
    Column("created_by", String(128)),
    Index("ix_trainings_created_at_id", "created_at", "id"),
    Index("ix_trainings_status", "status"),
    Index("ix_trainings_created_by_status", "created_by", "status"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("training_id", _Id, ForeignKey("trainings.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("started_at", Finite, nullable=False),
    Column("deadline_at", Finite, nullable=False),
    Column("ended_at", Finite),
    Column("connectivity_version", BigInteger),
    Column("plan", _Json),
    Column("goal", Integer),
    Column("base_model", _Sha256),
    Column("model", _Sha256),
    Column("average_accuracy", Finite),
    Column("average_loss", Finite),
    Column("goal_value", Finite),
    Column("metrics", _Json, nullable=False, server_default="{}"),
    Column("training_metrics", _Json, nullable=False, server_default="{}"),
    Column("target_doubt", _Json),
    Column("communication_cost", Finite),
    Column("communication_bytes", BigInteger, nullable=False),
    Column("convergence_speed", Finite),
    Column("fairness", Finite),
    Column("label_divergence", Finite),
    Column("failure_reason", Shown),
    Column("hyperparameters", _Json),
    Column("deadline_seconds", Finite),
    Column("update_encoding", String(16)),
    Column("waiting_since", Finite),
    Column("waited_seconds", Finite, nullable=False, server_default="0"),
    Column("step_failures", Integer, nullable=False, server_default="0"),
    Column("takeovers", Integer, nullable=False, server_default="0"),
    Column("population", BigInteger),
    Index("ix_rounds_status", "status"),
)

# No foreign key to clients: a client that is removed leaves its history.
participations = Table(
    "participations",
    metadata,
    Column("training_id", _Id, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("kind", String(16), primary_key=True, server_default="fit"),
    Column("client_id", _Id, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", Shown),
    Column("num_examples", BigInteger),
    Column("loss", Finite),
    Column("accuracy", Finite),
    Column("bytes_sent", BigInteger, nullable=False),
    Column("bytes_received", BigInteger, nullable=False),
    Column("seconds", Finite),
    Column("score", Finite, nullable=False),
    Column("components", _Json, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("finished_at", Finite),
    Column("update", _Sha256),
    Column("update_norm", Finite),
    Column("num_steps", BigInteger),
    Column("metrics", _Json, nullable=False, server_default="{}"),
    Column("traceback", Text),
    Column("digest", _Sha256),
    Column("evidence", _Json),
    ForeignKeyConstraint(["training_id", "round"], ["rounds.training_id", "rounds.number"], ondelete="CASCADE"),
    Index("ix_participations_client_id", "client_id"),
    Index("ix_participations_status", "status"),
)

selections = Table(
    "selections",
    metadata,
    Column("training_id", _Id, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    ForeignKeyConstraint(["training_id", "round"], ["rounds.training_id", "rounds.number"], ondelete="CASCADE"),
)

# Nor here: an update may arrive while its client is removed.
sketches = Table(
    "sketches",
    metadata,
    Column("training_id", _Id, ForeignKey("trainings.id", ondelete="CASCADE"), primary_key=True),
    Column("client_id", _Id, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
    Column("rounds", Integer, nullable=False),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("training_id", _Id, ForeignKey("trainings.id", ondelete="CASCADE"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("sha256", _Sha256, nullable=False),
    Column("parent", _Sha256),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Finite, nullable=False),
    Column("optimiser_state", _Sha256),
    Column("pinned_at", Finite),
    Column("removed_at", Finite),
    Index("ix_model_versions_sha256", "sha256"),
    Index("ix_model_versions_optimiser_state", "optimiser_state"),
)

removals = Table(
    "removals",
    metadata,
    Column("sha256", _Sha256, primary_key=True),
    Column("requested_at", Finite, nullable=False),
    Column("until", Finite, nullable=False),
    Column("removed_at", Finite),
)

events = Table(
    "events",
    metadata,
    Column("id", _Sequence, primary_key=True, autoincrement=True),
    Column("at", Finite, nullable=False),
    Column("type", String(64), nullable=False),
    Column("training_id", _Id),
    Column("round", Integer),
    Column("client_id", _Id),
    Column("data", _Json, nullable=False),
    Column("actor", String(128)),
    Column("request_id", String(64)),
    Index("ix_events_training_id_id", "training_id", "id"),
    Index("ix_events_client_id_id", "client_id", "id"),
)

# Append-only. A record is hashed with the hash of the one before it, so its columns are never changed.
audit = Table(
    "audit",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Finite, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("role", String(16)),
    Column("key_id", String(64)),
    Column("address", String(64), nullable=False),
    Column("operation", String(256), nullable=False),
    Column("parameters", _Json, nullable=False),
    Column("status", Integer, nullable=False),
    Column("request_id", String(64)),
    Column("count", BigInteger, nullable=False),
    Column("previous", _Sha256, nullable=False),
    Column("hash", _Sha256, nullable=False),
    Index("ix_audit_at", "at"),
    Index("ix_audit_actor_sequence", "actor", "sequence"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", String(128), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_sha256", _Sha256, nullable=False),
    Column("resource", String(128), nullable=False),
    Column("created_at", Finite, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

# How many requests a second each server gets from callers that send many. A server writes only its own rows.
request_rates = Table(
    "request_rates",
    metadata,
    Column("caller", String(128), primary_key=True),
    Column("server", _Id, primary_key=True),
    Column("rate", Finite, nullable=False),
    Column("measured_at", Finite, nullable=False),
)

# No foreign key to clients: a device may get its key before it registers.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("client_id", _Id),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", Finite, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires_at", Finite),
    Column("revoked_at", Finite),
    Column("last_used_at", Finite),
    Column("replaces", _Id),
    Column("change", BigInteger),
    Index("ix_api_keys_created_at_id", "created_at", "id"),
    Index("ix_api_keys_client_id", "client_id"),
    Index("ix_api_keys_change", "change"),
)
