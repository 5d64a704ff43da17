"""The tables of webhooks, and of what they did not take yet."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text

from app.store.columns import Finite, Shown
from app.store.tables.schema import Id, Json, metadata

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(256)),
    Column("url", Text, nullable=False),
    Column("types", Json, nullable=False),
    Column("training_id", Id),
    Column("secret", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("created_at", Finite, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("updated_at", Finite, nullable=False),
    Column("delivered_at", Finite),
    Column("failing_since", Finite),
    Column("problem", Shown),
    Column("owner", Id),
    Column("lease_until", Finite, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Index("ix_webhooks_created_at_id", "created_at", "id"),
)

# No foreign key to events: they may be removed before they are delivered, so a delivery has the whole body.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("webhook_id", Id, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    Column("event_id", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Finite, nullable=False),
    Column("status", Integer),
    Column("problem", Shown),
    Index("ix_webhook_deliveries_webhook_id_state_next_at", "webhook_id", "state", "next_at"),
)
