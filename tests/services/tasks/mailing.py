"""A mailbox with a client `a` that pulls, both sides of it, and the model store between them."""

import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from app.domain.clients import Endpoint
from app.metrics import Metrics
from app.services.tasks.appends import Appends
from app.services.tasks.bodies import Origin, TaskBody
from app.services.tasks.deliveries import Deliveries
from app.services.tasks.mailbox import Mailbox
from app.services.tasks.pulls import Nothing, Pulls, Taken
from app.services.tasks.replies import Reply
from app.services.tasks.signer import Signer
from app.services.tasks.sources import Sources
from app.services.tasks.watching import TaskWatch
from app.store.bucket_uploads import BucketUploads
from app.store.database import Database
from app.store.model_store import ModelStore
from app.store.presigned import PresignedUrls
from app.traces import Traces
from tcsfeel.wire.codec import MEDIA_TYPE, encode, pack
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.tasks import Task, TaskResult, result_metadata, task_metadata
from tests.clocks import FakeClock
from tests.store.samples import client

AGENT = Endpoint(None, client_id="a")
TASK = Task(id="t.1.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0)
MODEL = pack({"w": np.zeros(4, np.float32)})
BODY = TaskBody(*MODEL.payload(task_metadata(TASK)), Origin(TASK, MODEL))
RESULT = encode({"w": np.ones(4, np.float32)}, result_metadata(TaskResult(num_examples=10, loss=0.5)))
FAILURE = b'{"status": 500, "detail": "the data file is missing", "traceback": "one\\ntwo"}'
SEED = b"s" * 32


@dataclass
class Post:
    """Both sides of a mailbox."""

    db: Database
    clock: FakeClock
    files: ModelStore
    spool: ModelStore
    watch: TaskWatch
    mailbox: Mailbox
    pulls: Pulls
    deliveries: Deliveries
    appends: Appends
    another: Callable[[], Appends]  # of another server

    async def offer(self, task_id: str = TASK.id, *, limit: int = 1_000) -> Reply:
        task = replace(TASK, id=task_id)
        body = TaskBody(*MODEL.payload(task_metadata(task)), Origin(task, MODEL))
        return await self.mailbox.hand_over(AGENT, task_id, body, self.spool, limit=limit)

    async def next(self, *known: str, wait: float = 0.0, signature: str = "") -> Taken | Nothing:
        return await self.pulls.next("a", known, wait, stays, signature=signature)

    async def poll(self, wait: float = 0.0, task_id: str = TASK.id) -> Reply:
        return await self.mailbox.poll(AGENT, task_id, wait, self.spool)

    async def deliver(
        self,
        body: bytes = RESULT,
        task_id: str = TASK.id,
        *,
        by: str = "a",
        failed: bool = False,
        said: Mapping[str, str] | None = None,
    ) -> None:
        headers: Mapping[str, str] = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            CONTENT_DIGEST.lower(): written_digest(digest_of([body])),
            **(said or {}),
        }
        await self.deliveries.take(by, task_id, headers, once(body), failed=failed)


async def stays() -> None:
    """Never return, like a caller that does not hang up."""
    import asyncio  # noqa: PLC0415  (only here)

    await asyncio.Event().wait()


async def says_nothing(_: Endpoint) -> str:
    return ""


async def once(body: bytes) -> AsyncIterator[bytes]:
    yield body


@asynccontextmanager
async def posting(
    db: Database,
    directory: Path,
    *,
    public_key: str | None = None,
    places: int = 10,
    traces: Traces | None = None,
    urls: PresignedUrls | None = None,
    bucket: BucketUploads | None = None,
) -> AsyncIterator[Post]:
    clock = FakeClock()
    files, spool = ModelStore(directory / "models", durable=False), ModelStore(directory / "spool", durable=False)
    watch = TaskWatch(db, clock, places=places)
    async with db.begin() as tx:
        a = client("a", public_key=public_key)
        await tx.clients.add([replace(a, profile=replace(a.profile, url=None), last_seen_at=clock.now())])
    metrics = Metrics(CollectorRegistry(), max_clients=10)

    def uploads() -> ModelStore:
        return ModelStore(directory / "uploads" / secrets.token_hex(4), durable=False)

    deliveries = Deliveries(db, files, clock, watch, uploads=uploads, bucket=bucket)

    def appends() -> Appends:
        return Appends(
            db, files, clock, deliveries, metrics, uploads=uploads, most_bytes=2_000_000, most_of_client=1_000_000
        )

    yield Post(
        db,
        clock,
        files,
        spool,
        watch,
        Mailbox(db, files, clock, watch, max_bytes=1_000_000, interval=30.0, traces=traces or Traces()),
        Pulls(
            db,
            files,
            clock,
            watch,
            signer=Signer([SEED], clock),
            metrics=metrics,
            longest_wait=24.0,
            rng=random.Random(0),  # noqa: S311  (as in production)
            sources=Sources(urls, metrics, ask=says_nothing),
        ),
        deliveries,
        appends(),
        appends,
    )
