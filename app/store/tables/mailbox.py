"""The tables of the tasks that agents ask for, and of results that have come in only partly."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from app.store.columns import Finite
from app.store.tables.schema import Id, Json, Sha256, metadata

# No foreign keys: a client, or a training, may be removed while the task is on its way.
tasks = Table(
    "tasks",
    metadata,
    Column("id", String(256), primary_key=True),
    Column("client_id", Id, nullable=False),
    Column("training_id", Id, nullable=False),
    Column("round", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("document", Text, nullable=False),
    Column("model", Sha256),
    Column("accept", String(16), nullable=False),
    Column("most_bytes", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("bytes_sent", BigInteger, nullable=False),
    Column("offered_at", Finite, nullable=False),
    Column("deadline_at", Finite, nullable=False),
    Column("taken_at", Finite),
    Column("call", Text),
    Column("sent_seconds", Finite),
    Column("sent_digest", Sha256),
    Column("traceparent", String(64)),
    Column("moved_at", Finite),
    Column("delivered_at", Finite),
    Column("result", Sha256),
    Column("size", BigInteger, nullable=False),
    Column("coding", String(16), nullable=False),
    Column("seconds", Finite, nullable=False),
    Column("evidence", Json),
    Column("failure", Text),
    Index("ix_tasks_client_id", "client_id"),
    Index("ix_tasks_state", "state"),
    Index("ix_tasks_model", "model"),
    Index("ix_tasks_result", "result"),
    Index("ix_tasks_deadline_at", "deadline_at"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("task_id", String(256), primary_key=True),
    Column("begins", BigInteger, primary_key=True),
    Column("client_id", Id, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Sha256, nullable=False),
    Column("seconds", Finite, nullable=False),
    Index("ix_upload_parts_sha256", "sha256"),
)
