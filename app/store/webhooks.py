"""Webhooks and their deliveries as rows.

A webhook has one owner at a time, which sends its events. The owner holds a lease on the database's clock with a fence,
as in `app.store.leases`: each of its writes begins with `guard`, which renews the lease, and fails once another server
has claimed the webhook.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.webhooks import Delivery, DeliveryState, Webhook
from app.store.leases import Fenced, is_over
from app.store.reading import SHORT, Part, read
from app.store.tables import webhook_deliveries as deliveries
from app.store.tables import webhooks

LEASE_SECONDS = 30.0

_FIELDS = tuple(Webhook.__slots__)
_DELIVERY = tuple(Delivery.__slots__)


class WebhookLease(NamedTuple):
    """The right to send the events of a webhook."""

    webhook_id: str
    owner: str
    fence: int


class WebhookRepository:
    """Webhooks, newest first. `clock` is the database's time in unix seconds."""

    def __init__(self, connection: AsyncConnection, clock: ColumnElement[float]) -> None:
        self._connection = connection
        self._clock = clock

    async def add(self, webhook: Webhook) -> None:
        await self._connection.execute(insert(webhooks).values(_row_of(webhook)))

    async def get(self, webhook_id: str, *, for_update: bool = False) -> Webhook:
        """Read a webhook. `for_update` locks the row until the transaction ends. Raises `NotFound`."""
        query = select(webhooks).where(webhooks.c.id == webhook_id)
        row = (await self._connection.execute(query.with_for_update() if for_update else query)).one_or_none()
        if row is None:
            raise NotFound("webhook", webhook_id)
        return _webhook(row)

    async def put(self, webhook: Webhook) -> None:
        await self._connection.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(_row_of(webhook)))

    async def remove(self, webhook_id: str) -> None:
        """Remove a webhook and its deliveries. Raises `NotFound`."""
        await self._connection.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
        gone = await self._connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
        if not gone.rowcount:
            raise NotFound("webhook", webhook_id)

    async def count(self) -> int:
        """Return how many webhooks there are."""
        return int((await self._connection.execute(select(func.count()).select_from(webhooks))).scalar_one())

    async def page(self, *, limit: int, after: tuple[float, str] | None) -> Part[Webhook]:
        """Read at most `limit` webhooks older than `after`: the `created_at` and the id of the last one read."""
        query = select(webhooks).order_by(webhooks.c.created_at.desc(), webhooks.c.id.desc())
        if after is not None:
            query = query.where(_older(*after))
        return await read(
            self._connection, query, _webhook, lambda row: _older(row.created_at, row.id), limit=limit, many=SHORT
        )

    async def free(self) -> list[str]:
        """Return the ids of the webhooks that are enabled and that no server serves."""
        query = select(webhooks.c.id).where(webhooks.c.enabled, self._over).order_by(webhooks.c.id)
        return list((await self._connection.execute(query)).scalars())

    async def claim(self, webhook_id: str, owner: str) -> WebhookLease | None:
        """Take the lease of a webhook; None if another server was faster."""
        statement = (
            update(webhooks)
            .where(webhooks.c.id == webhook_id, webhooks.c.enabled, self._over)
            .values(owner=owner, fence=webhooks.c.fence + 1, lease_until=self._clock + LEASE_SECONDS)
            .returning(webhooks.c.fence)
        )
        fence = (await self._connection.execute(statement)).scalar_one_or_none()
        return None if fence is None else WebhookLease(webhook_id, owner, fence)

    async def guard(self, lease: WebhookLease) -> Webhook:
        """Renew a lease, lock its webhook until the transaction ends, and read it.

        Raises `Fenced` if another server has it, or if it was removed or disabled.
        """
        statement = (
            update(webhooks)
            .where(webhooks.c.id == lease.webhook_id, webhooks.c.fence == lease.fence, webhooks.c.enabled)
            .values(lease_until=self._clock + LEASE_SECONDS)
            .returning(webhooks)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            raise Fenced
        return _webhook(row)

    async def release(self, lease: WebhookLease) -> None:
        """Give a lease back, if it is still held."""
        ours = (webhooks.c.id == lease.webhook_id) & (webhooks.c.fence == lease.fence)
        await self._connection.execute(update(webhooks).where(ours).values(owner=None, lease_until=0.0))

    async def due(self, webhook_id: str, now: float, limit: int) -> list[Delivery]:
        """Read the deliveries of a webhook that are to be tried again by now, oldest first."""
        waiting = (deliveries.c.webhook_id == webhook_id) & (deliveries.c.state == "waiting")
        query = select(deliveries).where(waiting, deliveries.c.next_at <= now).order_by(deliveries.c.next_at)
        return [_delivery(row) for row in await self._connection.execute(query.limit(limit))]

    async def count_deliveries(self, webhook_id: str, state: DeliveryState) -> int:
        """Return how many deliveries of a webhook wait, or are dead."""
        of_state = (deliveries.c.webhook_id == webhook_id) & (deliveries.c.state == state)
        return int(
            (await self._connection.execute(select(func.count()).select_from(deliveries).where(of_state))).scalar_one()
        )

    async def keep(self, some: Sequence[Delivery]) -> None:
        """Write deliveries that failed, whether they are new or not."""
        for one in some:
            row = {name: getattr(one, name) for name in _DELIVERY}
            known = update(deliveries).where(_of(one.webhook_id, [one.event_id])).values(row)
            if not (await self._connection.execute(known)).rowcount:
                await self._connection.execute(insert(deliveries).values(row))

    async def drop(self, webhook_id: str, event_ids: Collection[int]) -> None:
        """Remove deliveries, which have arrived."""
        if event_ids:
            await self._connection.execute(delete(deliveries).where(_of(webhook_id, event_ids)))

    async def dead(
        self, webhook_id: str, *, limit: int, after: int | None = None, only: Collection[int] = ()
    ) -> Part[Delivery]:
        """Read at most `limit` dead deliveries with ids above `after`, in the order of the events."""
        query = select(deliveries).where(deliveries.c.webhook_id == webhook_id, deliveries.c.state == "dead")
        if only:
            query = query.where(deliveries.c.event_id.in_(only))
        if after is not None:
            query = query.where(deliveries.c.event_id > after)
        return await read(
            self._connection,
            query.order_by(deliveries.c.event_id),
            _delivery,
            lambda row: deliveries.c.event_id > row.event_id,
            limit=limit,
        )

    async def drop_oldest_dead(self, webhook_id: str, keep: int) -> int:
        """Remove the oldest dead deliveries of a webhook, so that `keep` of them stay. Return how many it were."""
        of_dead = (deliveries.c.webhook_id == webhook_id) & (deliveries.c.state == "dead")
        newest = select(deliveries.c.event_id).where(of_dead).order_by(deliveries.c.event_id.desc())
        last = (await self._connection.execute(newest.offset(keep).limit(1))).scalar_one_or_none()
        if last is None:
            return 0
        gone = await self._connection.execute(delete(deliveries).where(of_dead, deliveries.c.event_id <= last))
        return int(gone.rowcount)

    async def secrets(self) -> list[tuple[str, str]]:
        """Read the id and the stored secret of every webhook."""
        rows = await self._connection.execute(select(webhooks.c.id, webhooks.c.secret).order_by(webhooks.c.id))
        return [(row.id, row.secret) for row in rows]

    async def replace_secret(self, webhook_id: str, *, old: str, new: str) -> None:
        """Write a stored secret, unless it has changed in the meantime."""
        ours = (webhooks.c.id == webhook_id) & (webhooks.c.secret == old)
        await self._connection.execute(update(webhooks).where(ours).values(secret=new))

    @property
    def _over(self) -> ColumnElement[bool]:
        return is_over(webhooks.c.lease_until, LEASE_SECONDS, self._clock)


def _of(webhook_id: str, event_ids: Collection[int]) -> ColumnElement[bool]:
    return (deliveries.c.webhook_id == webhook_id) & deliveries.c.event_id.in_(event_ids)


def _older(created_at: float, webhook_id: str) -> ColumnElement[bool]:
    return tuple_(webhooks.c.created_at, webhooks.c.id) < tuple_(created_at, webhook_id)


def _row_of(webhook: Webhook) -> dict[str, Any]:
    return {name: getattr(webhook, name) for name in _FIELDS} | {"types": list(webhook.types)}


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(**{name: getattr(row, name) for name in _FIELDS} | {"types": tuple(row.types)})


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(**{name: getattr(row, name) for name in _DELIVERY})
