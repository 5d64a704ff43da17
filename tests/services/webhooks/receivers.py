"""A receiver of webhooks that answers as a test wants, and the services that send to it."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook as Signature

from app.domain.events.clients import ClientRemoved
from app.metrics import Metrics
from app.services.events.feed import EventFeed
from app.services.tasks.requests import Request
from app.services.tasks.responses import Proof, Response
from app.services.webhooks.deliveries import WebhookDeliveries
from app.services.webhooks.sender import Sender
from app.services.webhooks.webhooks import NewWebhook, Webhooks
from app.store.database import Database
from tests.clocks import FakeClock
from tests.services.fakes import SECRET, metrics
from tests.services.network import answered


@dataclass
class Receiver:
    """A transport behind which a receiver is. It answers with `status`, or fails with `error`."""

    status: int = 204
    error: Exception | None = None
    requests: list[tuple[Request, str]] = field(default_factory=list)

    async def exchange(self, request: Request, proof: Proof | None = None) -> Response:
        assert proof is None
        assert request.body is not None
        body = b"".join([bytes(part) async for part in request.body])
        self.requests.append((request, body.decode()))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return answered(self.status, b"read by nobody", {"Location": "http://elsewhere/"})

    async def close(self) -> None:
        """There is nothing to close."""

    @property
    def events(self) -> list[Any]:
        return [json.loads(body) for _, body in self.requests]

    @property
    def ids(self) -> Counter[str]:
        """How often each event came, by its message id."""
        return Counter(request.headers["webhook-id"] for request, _ in self.requests)


@dataclass
class Bench:
    """Webhooks, the deliveries of one server, and their receiver."""

    db: Database
    clock: FakeClock
    counts: Metrics
    receiver: Receiver
    webhooks: Webhooks
    deliveries: WebhookDeliveries

    async def make(self, *types: str, training_id: str | None = None) -> NewWebhook:
        return await self.webhooks.create(
            url="http://receiver/hook", types=types, training_id=training_id, name=None, created_by="ada"
        )

    async def happen(self, count: int = 1) -> None:
        for number in range(count):
            async with self.db.begin() as tx:
                await tx.events.append(ClientRemoved(client_id=f"c{number}"))

    def counted(self, outcome: str) -> float | None:
        labels = {"outcome": outcome}
        return self.counts.registry.get_sample_value("federated_webhook_deliveries_total", labels)


def deliveries(
    db: Database, receiver: Receiver, clock: FakeClock, counts: Metrics, *, owner: str = "one"
) -> WebhookDeliveries:
    return WebhookDeliveries(
        owner=owner,
        db=db,
        feed=EventFeed(db, places=100),
        sender=Sender(receiver, SECRET, clock),
        clock=clock,
        metrics=counts,
        rng=random.Random(1),  # noqa: S311  (jitter, not secrets)
    )


@asynccontextmanager
async def bench_on(db: Database) -> AsyncIterator[Bench]:
    clock, counts, receiver = FakeClock(), metrics(), Receiver()
    sending = deliveries(db, receiver, clock, counts)
    yield Bench(db, clock, counts, receiver, Webhooks(db, clock, SECRET, most=3), sending)
    await sending.close()


def verified(new: NewWebhook, request: Request, body: str) -> Any:
    """What a receiver with the secret reads of a request. Raises if the signature does not fit."""
    signature = Signature(new.secret)
    fresh = {name: value for name, value in request.headers.items() if name.startswith("webhook-")}
    expected = signature.sign(fresh["webhook-id"], at(fresh["webhook-timestamp"]), body)
    assert fresh["webhook-signature"] == expected
    return json.loads(body)


def at(timestamp: str) -> Any:
    return datetime.fromtimestamp(int(timestamp), UTC)
