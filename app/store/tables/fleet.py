"""The tables of clients, and of the links between them."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table, Text, false, true

from app.store.columns import Finite
from app.store.tables.numbers import NEXT_CHANGE
from app.store.tables.schema import Id, Json, PublicKey, Sequence, metadata

clients = Table(
    "clients",
    metadata,
    Column("id", Id, primary_key=True),
    Column("url", Text),
    Column("data_size", BigInteger, nullable=False),
    Column("data_distribution", Json),
    Column("compute_capacity", Finite, nullable=False),
    Column("bandwidth", Finite, nullable=False),
    Column("latency", Finite, nullable=False),
    Column("reliability", Finite, nullable=False),
    Column("server_cost", Finite),
    Column("tags", Json, nullable=False),
    Column("auth_token", Text),
    Column("relay", Boolean, nullable=False, server_default=true()),
    Column("elastic", Boolean, nullable=False, server_default=false()),
    Column("status", String(16), nullable=False),
    Column("measured", Json, nullable=False),
    Column("breaker", Json, nullable=False),
    Column("failures", Json),
    Column("identity", Json),
    Column("rounds_selected", Integer, nullable=False),
    Column("rounds_completed", Integer, nullable=False),
    Column("last_seen_at", Finite),
    Column("created_at", Finite, nullable=False),
    Column("updated_at", Finite, nullable=False),
    Column("public_key", PublicKey),
    Column("invitation_id", Id),
    Column("enrolled_at", Finite),
    # see app/store/client_changes.py; each insert and each update sets it, unless it gives it a value
    Column("change", BigInteger, nullable=False, server_default="0", default=NEXT_CHANGE, onupdate=NEXT_CHANGE),
    Index("ix_clients_change", "change"),
)

links = Table(
    "links",
    metadata,
    Column("source", Id, primary_key=True),
    Column("target", Id, primary_key=True),
    Column("measured", Finite, nullable=False),
    Column("measurements", Integer, nullable=False),
    Column("measured_at", Finite, nullable=False),
    Column("claimed", Finite),
)

connectivity = Table(
    "connectivity",
    metadata,
    Column("version", Sequence, primary_key=True, autoincrement=True),
    Column("client_ids", Json, nullable=False),
    Column("links", LargeBinary, nullable=False),
    Column("created_at", Finite, nullable=False),
)
