"""Make, change and remove webhooks, and send again what was given up. `deliveries.py` sends the events."""

import secrets
from base64 import b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.clock import Clock
from app.domain.errors import LimitReached, NotFound
from app.domain.events.catalog import CATALOG
from app.domain.events.webhooks import WebhookChanged, WebhookCreated, WebhookRemoved
from app.domain.webhooks import HIDDEN, Delivery, Webhook
from app.services.access.secrets import ServerSecret, Undecipherable
from app.store.database import Database
from app.store.portions import in_portions
from app.store.reading import Part
from app.store.transaction import Transaction
from tcsfeel.errors import Invalid

REDELIVERED_TOGETHER = 200
_ID_BYTES = 8
_SECRET_BYTES = 32
PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook that was just made, with its secret, which can be shown only now."""

    webhook: Webhook
    secret: str

    def __repr__(self) -> str:
        return f"NewWebhook({self.webhook.id!r})"


class Webhooks:
    """Use cases around webhooks. There are `most` of them at most."""

    def __init__(self, db: Database, clock: Clock, secret: ServerSecret, *, most: int) -> None:
        self._db = db
        self._clock = clock
        self._secret = secret
        self._most = most

    async def create(
        self, *, url: str, types: Collection[str], training_id: str | None, name: str | None, created_by: str
    ) -> NewWebhook:
        """Make a webhook, which gets the events from now on.

        Raises:
            Invalid: there is no such training, or no such type of events.
            LimitReached: there are as many webhooks as may be.
        """
        text = PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        now = self._clock.now()
        async with self._db.begin() as tx:
            await _check(tx, training_id, types)
            if await tx.webhooks.count() >= self._most:
                raise LimitReached("webhooks", f"there are {self._most} webhooks already: remove one first")
            webhook = Webhook(
                id=secrets.token_hex(_ID_BYTES),
                name=name,
                url=url,
                types=tuple(types),
                training_id=training_id,
                secret=self._secret.encrypt(text),
                cursor=await tx.events.newest(),
                created_at=now,
                created_by=created_by,
                updated_at=now,
            )
            await tx.webhooks.add(webhook)
            await tx.events.append(WebhookCreated(webhook_id=webhook.id, host=urlsplit(url).hostname or ""))
        return NewWebhook(webhook, text)

    async def get(self, webhook_id: str) -> Webhook:
        """Read a webhook. Raises `NotFound`."""
        async with self._db.glance() as tx:
            return await tx.webhooks.get(webhook_id)

    async def page(self, *, limit: int, after: tuple[float, str] | None = None) -> Part[Webhook]:
        """Read a page of webhooks, newest first."""
        async with self._db.read() as tx:
            return await tx.webhooks.page(limit=limit, after=after)

    async def change(self, webhook_id: str, changes: Mapping[str, Any]) -> Webhook:
        """Change some fields of a webhook. Raises `NotFound`, and `Invalid` as `create` does."""
        async with self._db.begin() as tx:
            before = await tx.webhooks.get(webhook_id, for_update=True)
            await _check(tx, changes.get("training_id"), changes.get("types", ()))
            after = before.changed(changes, self._clock.now())
            await tx.webhooks.put(after)
            await tx.events.append(WebhookChanged(webhook_id=webhook_id, fields=tuple(sorted(changes))))
        return after

    async def remove(self, webhook_id: str) -> None:
        """Remove a webhook and what it did not take yet. Raises `NotFound`."""
        async with self._db.begin() as tx:
            await tx.webhooks.remove(webhook_id)
            await tx.events.append(WebhookRemoved(webhook_id=webhook_id))

    async def dead(self, webhook_id: str, *, limit: int, after: int | None = None) -> Part[Delivery]:
        """Read a page of the deliveries that were given up, oldest event first. Raises `NotFound`."""
        async with self._db.read() as tx:
            await tx.webhooks.get(webhook_id)
            return await tx.webhooks.dead(webhook_id, limit=limit, after=after)

    async def redeliver(self, webhook_id: str, event_ids: Collection[int] | None) -> int:
        """Let dead deliveries be tried again: those of some events, or all. Returns how many. Raises `NotFound`."""
        async with self._db.glance() as tx:
            await tx.webhooks.get(webhook_id)
        if event_ids is not None and not event_ids:
            return 0

        async def some(tx: Transaction, limit: int) -> int:
            await tx.webhooks.get(webhook_id, for_update=True)  # it may have been removed meanwhile
            found = await tx.webhooks.dead(webhook_id, limit=limit, only=event_ids or ())
            await tx.webhooks.keep([one.redelivered(self._clock.now()) for one in found.items])
            return len(found.items)

        return await in_portions(self._db, some)

    async def renew_secrets(self) -> tuple[int, list[str]]:
        """Encrypt all stored secrets again, with the newest secret of the server.

        Returns how many were encrypted, and the webhooks whose secrets cannot be decrypted.
        """
        async with self._db.glance() as tx:
            stored = await tx.webhooks.secrets()
        locked = []
        for webhook_id, old in stored:
            try:
                new = self._secret.renewed(old)
            except Undecipherable:
                locked.append(webhook_id)
                continue
            async with self._db.begin() as tx:
                await tx.webhooks.replace_secret(webhook_id, old=old, new=new)
        return len(stored) - len(locked), locked


async def _check(tx: Transaction, training_id: str | None, types: Collection[str]) -> None:
    for at, name in enumerate(types):
        if name.startswith(HIDDEN):
            raise Invalid(f"/types/{at}", f"events of webhooks, such as {name}, are not sent to webhooks")
        if name not in CATALOG:
            raise Invalid(f"/types/{at}", f"there are no events of the type {name}")
    if training_id is None:
        return
    try:
        await tx.trainings.get(training_id)
    except NotFound:
        raise Invalid("/training_id", f"there is no training {training_id}") from None
