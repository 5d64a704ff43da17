"""Make the databases and the stores of models that the settings name."""

from app.metrics import Metrics
from app.settings import Settings
from app.store.bucket import BucketStore
from app.store.bucket_uploads import BucketUploads
from app.store.database import WAIT_SECONDS, Database
from app.store.failures import REASONS, REFUSALS
from app.store.model_store import ModelFiles, ModelStore
from app.store.presigned import PresignedUrls

API_WAIT_SECONDS = 2.0  # that a request waits for a connection, before the caller is asked to try again


def databases(settings: Settings, metrics: Metrics) -> tuple[Database, Database]:
    """Make the databases of the API and of rounds: requests, however many they are, must not take their connections.

    An SQLite file has one writer at a time in any case, and a process queues for it best in one place.
    """

    def connected(pool: str, size: int) -> Database:
        made = Database(
            settings.database_url,
            pool_size=size,
            wait_seconds=API_WAIT_SECONDS if pool == "api" else WAIT_SECONDS,
            statement_seconds=settings.database.statement_seconds,
            on_refusal=lambda reason: metrics.database_refusals.labels(pool, reason).inc(),
            on_failure=lambda reason: metrics.database_failures.labels(pool, reason).inc(),
            on_end=metrics.watch_transactions(pool, refusals=REFUSALS, failures=REASONS),
        )
        metrics.watch_connections(pool, made.connections)
        return made

    if settings.database_url.startswith("sqlite"):
        db = connected("shared", settings.database.pool_size)
        return db, db
    return connected("api", settings.database.pool_size), connected(
        "coordinator", settings.database.coordinator_pool_size
    )


def model_files(settings: Settings) -> tuple[ModelFiles, ModelStore | None]:
    """Make the store of models and, if that is a bucket, the store of this machine's copies."""
    directory, bucket = ModelStore(settings.model_directory), settings.models.bucket
    if bucket is None:
        return directory, None
    return BucketStore(bucket, directory, uploads=bucket_uploads(settings)), directory


def presigned_urls(settings: Settings) -> PresignedUrls | None:
    """Make what signs URLs of models for agents; None if agents get all models from the servers."""
    bucket = settings.models.bucket
    if bucket is None or not settings.models.presigned_urls:
        return None
    return PresignedUrls(bucket, settings.models.presigned_endpoint)


def bucket_uploads(settings: Settings) -> BucketUploads | None:
    """Make the place for results that agents put into the bucket; None if they bring all of them to the servers."""
    bucket = settings.models.bucket
    return None if bucket is None or not settings.models.presigned_urls else BucketUploads(bucket)
