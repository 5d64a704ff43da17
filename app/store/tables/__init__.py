"""The schema, the same on SQLite and Postgres.

Every instant is a float of unix seconds (ADR 0005). Lists and maps that are only read and written whole are JSON. An
import of this package makes all tables, so that `metadata` has each of them.
"""

from app.store.tables.access import api_keys, enrolments, invitations, request_rates
from app.store.tables.fleet import clients, connectivity, links
from app.store.tables.mailbox import tasks, upload_parts
from app.store.tables.records import audit, events
from app.store.tables.schema import metadata
from app.store.tables.trainings import (
    idempotency_keys,
    model_versions,
    participations,
    removals,
    rounds,
    selections,
    sketches,
    trainings,
)
from app.store.tables.webhooks import webhook_deliveries, webhooks

__all__ = [
    "api_keys",
    "audit",
    "clients",
    "connectivity",
    "enrolments",
    "events",
    "idempotency_keys",
    "invitations",
    "links",
    "metadata",
    "model_versions",
    "participations",
    "removals",
    "request_rates",
    "rounds",
    "selections",
    "sketches",
    "tasks",
    "trainings",
    "upload_parts",
    "webhook_deliveries",
    "webhooks",
]
