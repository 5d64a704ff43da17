"""The tables that only grow: the events, and the audit trail."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table

from app.store.columns import Finite
from app.store.tables.schema import Id, Json, Sequence, Sha256, metadata

events = Table(
    "events",
    metadata,
    Column("id", Sequence, primary_key=True, autoincrement=True),
    Column("at", Finite, nullable=False),
    Column("type", String(64), nullable=False),
    Column("training_id", Id),
    Column("round", Integer),
    Column("client_id", Id),
    Column("data", Json, nullable=False),
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
    Column("parameters", Json, nullable=False),
    Column("status", Integer, nullable=False),
    Column("request_id", String(64)),
    Column("count", BigInteger, nullable=False),
    Column("previous", Sha256, nullable=False),
    Column("hash", Sha256, nullable=False),
    Index("ix_audit_at", "at"),
    Index("ix_audit_actor_sequence", "actor", "sequence"),
)
