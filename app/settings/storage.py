"""Where the database and the models are, and how long events and audit records are kept."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.buckets import Bucket, is_endpoint
from app.settings.section import Section

MEGABYTE = 1_000_000


class DatabaseSettings(Section):
    """`url` is ``sqlite+aiosqlite:///path`` or ``postgresql+asyncpg://…``; by default a file in the data directory.

    On Postgres, at most `pool_size` connections are open for the API and `coordinator_pool_size` for rounds, health and
    housekeeping, and a statement may take `statement_seconds`. On SQLite, all of them share `pool_size` connections
    that read and one that writes. `migrate_on_start` is only for Postgres; SQLite is always migrated.
    """

    url: str | None = None
    migrate_on_start: bool = False
    pool_size: Annotated[int, Field(ge=1, le=200)] = 5
    coordinator_pool_size: Annotated[int, Field(ge=2, le=200)] = 5
    statement_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0

    @field_validator("url")
    @classmethod
    def _known_driver(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("sqlite+aiosqlite:///", "postgresql+asyncpg://")):
            raise ValueError("must start with sqlite+aiosqlite:/// or postgresql+asyncpg://")
        try:
            parts = make_url(url)
        except (ArgumentError, ValueError):  # the message may repeat the password
            raise ValueError("must be a URL such as postgresql+asyncpg://user:password@host:5432/database") from None
        if parts.get_backend_name() == "sqlite" and parts.database in {None, "", ":memory:"}:
            raise ValueError("must name a file: an in-memory database would be a separate one for each connection")
        return url


class ModelSettings(Section):
    """`url` is ``file:///path``, by default a directory in the data directory, or ``s3://bucket/prefix``.

    One model may have at most `max_bytes`. The file of a removed version is kept for `removal_delay_seconds`.

    With `presigned_urls`, agents that are able to do so fetch the models of their tasks from the bucket. They reach it
    at `presigned_endpoint`, which is by default the endpoint in `url`.
    """

    url: str | None = None
    max_bytes: Annotated[int, Field(ge=1)] = 4_000 * MEGABYTE
    removal_delay_seconds: Annotated[float, Field(ge=0, le=10_000_000)] = 600.0
    presigned_urls: bool = False
    presigned_endpoint: str | None = None

    @field_validator("url")
    @classmethod
    def _known_place(cls, url: str | None) -> str | None:
        if url is None or url.startswith("file:///"):
            return url
        if not url.startswith("s3://"):
            raise ValueError("must start with file:/// or s3://")
        Bucket.parse(url)
        return url

    @field_validator("presigned_endpoint")
    @classmethod
    def _an_endpoint(cls, url: str | None) -> str | None:
        if url is not None and not is_endpoint(url):
            raise ValueError("must be http://host or https://host, without credentials")
        return url

    @model_validator(mode="after")
    def _only_of_a_bucket(self) -> "ModelSettings":
        if self.presigned_urls and self.bucket is None:
            raise ValueError("MODELS__PRESIGNED_URLS may be true only if MODELS__URL is that of a bucket, s3://…")
        return self

    @property
    def bucket(self) -> Bucket | None:
        """The bucket in which models are stored; None if they are stored in a directory."""
        return Bucket.parse(self.url) if self.url is not None and self.url.startswith("s3://") else None


class EventSettings(Section):
    """How long events are kept: `keep_days` days, and about the newest `keep_last`. By default, all are kept."""

    keep_days: Annotated[int | None, Field(ge=1, le=36_500)] = None
    keep_last: Annotated[int | None, Field(ge=1_000, le=1_000_000_000)] = None


class AuditSettings(Section):
    """Records of the audit trail are kept for `keep_days` days; by default, all are kept."""

    keep_days: Annotated[int | None, Field(ge=1, le=36_500)] = None
