"""The tables of those who may call: keys, invitations and what came in by them, and how often each caller calls."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, UniqueConstraint

from app.store.columns import Finite
from app.store.tables.schema import Id, Json, PublicKey, metadata

invitations = Table(
    "invitations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(256)),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("id_pattern", Id),
    Column("tags", Json, nullable=False),
    Column("replaces", Id),
    Column("created_at", Finite, nullable=False),
    Column("expires_at", Finite, nullable=False),
    Column("revoked_at", Finite),
    Index("ix_invitations_created_at_id", "created_at", "id"),
)

# No foreign key to clients: a device enrols before it registers, and a client that is removed keeps its id from others.
enrolments = Table(
    "enrolments",
    metadata,
    Column("client_id", Id, primary_key=True),
    Column("public_key", PublicKey, nullable=False),
    Column("invitation_id", Id, nullable=False),
    Column("key_id", Id, nullable=False),
    Column("tags", Json, nullable=False),
    Column("enrolled_at", Finite, nullable=False),
    Index("ix_enrolments_invitation_id_client_id", "invitation_id", "client_id"),
    UniqueConstraint("public_key"),
)

# No foreign key to clients: a device may get its key before it registers.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("client_id", Id),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", Finite, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires_at", Finite),
    Column("revoked_at", Finite),
    Column("last_used_at", Finite),
    Column("replaces", Id),
    Column("secret_id", String(16)),
    Column("change", BigInteger),
    Index("ix_api_keys_created_at_id", "created_at", "id"),
    Index("ix_api_keys_client_id", "client_id"),
    Index("ix_api_keys_change", "change"),
)

# How many requests a second each server gets from callers that send many. A server writes only its own rows.
request_rates = Table(
    "request_rates",
    metadata,
    Column("caller", String(128), primary_key=True),
    Column("server", Id, primary_key=True),
    Column("rate", Finite, nullable=False),
    Column("measured_at", Finite, nullable=False),
)
