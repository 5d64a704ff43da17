"""Send events to webhooks, from one server at a time for each of them.

A server that finds a webhook without an owner takes its lease (`app.store.webhooks`). The owner sends some events at
once, and then stores in one transaction, under its fence, which of them arrived: those need nothing more, others become
deliveries that are tried again, and the webhook's cursor moves past all of them. So when an owner dies, each event is
done, or stored as a delivery, or beyond the cursor. Its successor sends those beyond the cursor, perhaps for the second
time, with the same ids.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from app.clock import Clock
from app.domain.events.webhooks import DeliveryDied, WebhookDisabled
from app.domain.webhooks import HIDDEN, Delivery, Webhook
from app.metrics import Metrics
from app.services.events.feed import EventFeed, EventFilter
from app.services.events.writings import Writings
from app.services.webhooks.sender import Sender, Sent
from app.store.database import Database, is_outage
from app.store.events import RecordedEvent
from app.store.leases import Fenced
from app.store.outages import Outage
from app.store.transaction import Transaction
from app.store.webhooks import WebhookLease
from tcsfeel.contract.events import EventOut

LOOK_SECONDS = 1.0  # between two searches for webhooks without an owner
IDLE_SECONDS = 2.0  # after which an owner without events looks for deliveries to try again
QUIET_SECONDS = 10.0  # the same if no deliveries wait; less than half of a lease, which the look renews
TOGETHER = 20  # events of one webhook that are sent at the same time
MOST_WAITING = 1000  # deliveries of a webhook; with so many, no further events are sent
MOST_DEAD = 10_000  # deliveries of a webhook that are kept; the oldest go first
CLOSE_SECONDS = 3.0
_PARTY = "webhooks"

log = structlog.get_logger(__name__)


class Known(NamedTuple):
    """What the owner of a webhook has read of it: its deliveries that are due, and how many wait, those included."""

    webhook: Webhook
    due: list[Delivery]
    waiting: int


class WebhookDeliveries:
    """Serves the webhooks that this process owns. `owner` names the process."""

    def __init__(
        self,
        *,
        owner: str,
        db: Database,
        feed: EventFeed,
        sender: Sender,
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
    ) -> None:
        self._owner = owner
        self._db = db
        self._feed = feed
        self._sender = sender
        self._clock = clock
        self._metrics = metrics
        self._rng = rng
        self._serving: dict[asyncio.Task[None], WebhookLease] = {}
        self._outage = Outage()
        self._bodies = Writings(_body)

    async def run(self) -> None:
        """Look for webhooks without an owner until cancelled; a look that fails is made again."""
        following = asyncio.create_task(self._feed.run())
        try:
            while True:
                await self._outage.outlast(self.tick, "webhooks could not be looked for")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            following.cancel()

    async def tick(self) -> None:
        """Become the owner of each webhook that has none."""
        async with self._db.glance() as tx:
            free = await tx.webhooks.free()
        for webhook_id in free:
            async with self._db.begin() as tx:
                lease = await tx.webhooks.claim(webhook_id, self._owner)
            if lease is not None:
                task = asyncio.create_task(self._serve(lease), name=f"webhook {webhook_id}")
                self._serving[task] = lease
                task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stop sending, and give all webhooks back. Call it once `run` is cancelled."""
        serving = dict(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                with self._outage.tolerated():
                    for lease in serving.values():
                        async with self._db.begin() as tx:
                            await tx.webhooks.release(lease)
        except TimeoutError:
            log.warning("webhooks were not given back: other servers serve them once the leases are over")
        await self._sender.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._serving.pop(task, None)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("serving a webhook failed", exc_info=problem)

    async def _serve(self, lease: WebhookLease) -> None:
        """Send events until another server owns the webhook, or it is removed or disabled."""
        with structlog.contextvars.bound_contextvars(webhook=lease.webhook_id), self._feed.place(_PARTY):
            known: Known | None = None
            while True:
                try:
                    known = await self.step(lease, known)
                except Fenced:
                    return
                except Exception as error:
                    known = None
                    if is_outage(error):
                        self._outage.meet(error)
                    else:
                        log.exception("events could not be sent to a webhook")
                    await asyncio.sleep(LOOK_SECONDS)

    async def step(self, lease: WebhookLease, known: Known | None = None) -> Known | None:
        """Send what is due, or else the next events, and store the results. Raises `Fenced`.

        Returns what is known of the webhook then, for the next step; None if that has to read it again.
        """
        if known is None:
            async with self._db.begin() as tx:
                known = await self._read(tx, await tx.webhooks.guard(lease))
        webhook, due, waiting = known
        if not due and waiting >= MOST_WAITING:
            await asyncio.sleep(IDLE_SECONDS)
            return None
        cursor = webhook.cursor
        if not due:
            only = EventFilter(webhook.training_id, None, frozenset(webhook.types))
            seconds = IDLE_SECONDS if waiting else QUIET_SECONDS
            page = await self._feed.page(after=cursor, limit=TOGETHER, only=only, seconds=seconds)
            due, cursor = [self._delivery(webhook, one) for one in page.items if _is_sent(one)], page.cursor
        if not due and cursor == webhook.cursor:
            return None
        tries = await asyncio.gather(*(self._sender.send(webhook, one) for one in due))
        return await self._store(lease, known, cursor, due, tries)

    async def _read(self, tx: Transaction, webhook: Webhook) -> Known:
        waiting = await tx.webhooks.count_deliveries(webhook.id, "waiting")
        due = await tx.webhooks.due(webhook.id, self._clock.now(), TOGETHER) if waiting else []
        return Known(webhook, due, waiting)

    async def _store(
        self, lease: WebhookLease, before: Known, cursor: int, due: Sequence[Delivery], tries: Sequence[Sent]
    ) -> Known | None:
        """Store the results of the tries, and read what is to be sent next; None if nothing is sent any more.

        The cursor stays where it was `before` if other events are wanted by now.
        """
        now = self._clock.now()
        arrived = [one for one, sent in zip(due, tries, strict=True) if sent.problem is None]
        failed = [
            one.failed(sent.problem, sent.status, now, jitter=self._rng.random())
            for one, sent in zip(due, tries, strict=True)
            if sent.problem is not None
        ]
        dead = [one for one in failed if one.state == "dead"]
        async with self._db.begin() as tx:
            webhook = await tx.webhooks.guard(lease)
            if tries:
                webhook = webhook.met(tries[-1].problem, now)
            if any(sent.is_gone for sent in tries):
                webhook = replace(webhook, enabled=False)
                await tx.events.append(WebhookDisabled(webhook_id=webhook.id))
            if webhook.wants == before.webhook.wants:
                webhook = replace(webhook, cursor=max(cursor, webhook.cursor))
            await tx.webhooks.put(webhook)
            if before.waiting:  # otherwise nothing of them is stored
                await tx.webhooks.drop(webhook.id, [one.event_id for one in arrived])
            await tx.webhooks.keep(failed)
            for one in dead:
                died = DeliveryDied(webhook_id=webhook.id, event_id=one.event_id, reason=one.problem or "")
                await tx.events.append(died)
            if dead:
                await tx.webhooks.drop_oldest_dead(webhook.id, MOST_DEAD)
            known = await self._read(tx, webhook)
        self._note(len(arrived), failed, dead)
        return known if webhook.enabled else None

    def _note(self, arrived: int, failed: Sequence[Delivery], dead: Sequence[Delivery]) -> None:
        for outcome, count in (("delivered", arrived), ("dead", len(dead)), ("failed", len(failed) - len(dead))):
            self._metrics.webhook_deliveries.labels(outcome).inc(count)
        if failed:
            log.warning("a webhook did not take events", events=len(failed), dead=len(dead), reason=failed[-1].problem)

    def _delivery(self, webhook: Webhook, event: RecordedEvent) -> Delivery:
        return Delivery(webhook_id=webhook.id, event_id=event.id, type=event.type, body=self._bodies.of(event))


def _is_sent(event: RecordedEvent) -> bool:
    return not event.type.startswith(HIDDEN)


def _body(event: RecordedEvent) -> str:
    """Write an event: a JSON object with its type, its time, and all that the REST API shows of it."""
    at = datetime.fromtimestamp(event.at, UTC).isoformat().replace("+00:00", "Z")
    data = EventOut.model_validate(event).model_dump(mode="json")
    return json.dumps({"type": event.type, "timestamp": at, "data": data}, ensure_ascii=False)
