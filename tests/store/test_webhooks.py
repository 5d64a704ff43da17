"""Webhooks, their leases and their deliveries, as rows."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from app.domain.errors import NotFound
from app.domain.webhooks import Delivery, Webhook
from app.store.database import Database
from app.store.leases import Fenced
from app.store.tables import webhooks
from app.store.webhooks import WebhookLease
from tests.store.samples import NOW, unsaid

FULL = Webhook(
    id="w", name="pager", url="http://a/b", types=("round.completed",), training_id="t", secret="sealed", enabled=False,
    cursor=2**40, created_at=NOW, created_by="ada", updated_at=NOW + 1, delivered_at=NOW + 2, failing_since=NOW + 3,
    problem="the receiver answered 500",
)  # fmt: skip
HOOK = replace(FULL, enabled=True)
DELIVERY = Delivery(
    webhook_id="w", event_id=2**40, type="round.completed", body="{}", state="dead", attempts=8, next_at=NOW,
    status=500, problem="no",
)  # fmt: skip


async def add(db: Database, *hooks: Webhook) -> None:
    async with db.begin() as tx:
        for hook in hooks:
            await tx.webhooks.add(hook)


async def claim(db: Database, owner: str, webhook_id: str = "w") -> WebhookLease | None:
    async with db.begin() as tx:
        return await tx.webhooks.claim(webhook_id, owner)


async def expire(db: Database) -> None:
    async with db.begin() as tx:
        await tx.connection.execute(update(webhooks).values(lease_until=1.0))


async def test_every_field_is_kept(db: Database) -> None:
    assert unsaid(FULL) == set()
    assert unsaid(DELIVERY) == set()
    await add(db, FULL)
    async with db.begin() as tx:
        await tx.webhooks.keep([DELIVERY])
    async with db.read() as tx:
        assert await tx.webhooks.get("w") == FULL
        assert (await tx.webhooks.dead("w", limit=10)).items == [DELIVERY]
    changed = replace(HOOK, url="http://c", types=(), name=None)
    async with db.begin() as tx:
        await tx.webhooks.put(changed)
    async with db.read() as tx:
        assert await tx.webhooks.get("w", for_update=False) == changed


async def test_what_is_removed_is_gone_with_its_deliveries(db: Database) -> None:
    await add(db, HOOK)
    async with db.begin() as tx:
        await tx.webhooks.keep([DELIVERY])
        await tx.webhooks.remove("w")
        assert await tx.webhooks.count_deliveries("w", "dead") == 0
        with pytest.raises(NotFound):
            await tx.webhooks.get("w")
        with pytest.raises(NotFound):
            await tx.webhooks.remove("w")


async def test_pages_begin_with_the_newest(db: Database) -> None:
    await add(db, *(replace(HOOK, id=f"w{number}", created_at=NOW + number) for number in range(3)))
    async with db.read() as tx:
        first = await tx.webhooks.page(limit=2, after=None)
        assert ([one.id for one in first.items], first.more) == (["w2", "w1"], True)
        rest = await tx.webhooks.page(limit=2, after=(NOW + 1, "w1"))
        assert ([one.id for one in rest.items], rest.more) == (["w0"], False)
        assert await tx.webhooks.count() == 3


async def test_one_server_at_a_time_owns_a_webhook(db: Database) -> None:
    await add(db, HOOK, replace(FULL, id="disabled"))
    async with db.read() as tx:
        assert await tx.webhooks.free() == ["w"]
    lease = await claim(db, "one")
    assert lease == WebhookLease("w", "one", 1)
    assert await claim(db, "two") is None
    assert await claim(db, "two", "disabled") is None
    async with db.read() as tx:
        assert await tx.webhooks.free() == []


async def test_an_owner_whose_lease_was_taken_can_write_nothing(db: Database) -> None:
    await add(db, HOOK)
    stale = await claim(db, "one")
    assert stale is not None
    await expire(db)
    taken = await claim(db, "two")
    assert taken == WebhookLease("w", "two", 2)
    async with db.begin() as tx:
        with pytest.raises(Fenced):
            await tx.webhooks.guard(stale)
        await tx.webhooks.release(stale)  # which changes nothing
        assert await tx.webhooks.guard(taken) == HOOK
    assert await claim(db, "three") is None
    async with db.begin() as tx:
        await tx.webhooks.release(taken)
    assert await claim(db, "three") == WebhookLease("w", "three", 3)


async def test_a_webhook_that_is_disabled_or_removed_is_fenced(db: Database) -> None:
    await add(db, HOOK, replace(HOOK, id="v"))
    leases = [await claim(db, "one"), await claim(db, "one", "v")]
    async with db.begin() as tx:
        await tx.webhooks.put(FULL)
        await tx.webhooks.remove("v")
        for lease in leases:
            assert lease is not None
            with pytest.raises(Fenced):
                await tx.webhooks.guard(lease)


async def test_a_clock_that_was_set_back_does_not_keep_a_webhook_for_ever(db: Database) -> None:
    await add(db, HOOK)
    async with db.begin() as tx:
        await tx.connection.execute(update(webhooks).values(owner="gone", lease_until=await tx.now() + 10_000))
    assert await claim(db, "one") is not None


async def test_deliveries_are_due_in_their_order_and_are_dropped_when_they_arrive(db: Database) -> None:
    await add(db, HOOK)
    waiting = [replace(DELIVERY, event_id=n, state="waiting", next_at=NOW - n) for n in (1, 2, 3)]
    later = replace(DELIVERY, event_id=4, state="waiting", next_at=NOW + 1)
    async with db.begin() as tx:
        await tx.webhooks.keep([*waiting, later, DELIVERY])
        assert [one.event_id for one in await tx.webhooks.due("w", NOW, 2)] == [3, 2]
        assert await tx.webhooks.count_deliveries("w", "waiting") == 4
        await tx.webhooks.drop("w", [3, 2])
        await tx.webhooks.drop("w", [])
        assert await tx.webhooks.due("w", NOW, 9) == [waiting[0]]


async def test_the_newest_dead_deliveries_stay(db: Database) -> None:
    await add(db, HOOK)
    async with db.begin() as tx:
        await tx.webhooks.keep([replace(DELIVERY, event_id=number) for number in range(1, 6)])
        assert await tx.webhooks.drop_oldest_dead("w", 5) == 0
        assert await tx.webhooks.drop_oldest_dead("w", 2) == 3
        left = await tx.webhooks.dead("w", limit=9)
        assert [one.event_id for one in left.items] == [4, 5]
        assert [one.event_id for one in (await tx.webhooks.dead("w", limit=9, after=4)).items] == [5]
        assert [one.event_id for one in (await tx.webhooks.dead("w", limit=9, only=[4, 9])).items] == [4]


async def test_secrets_are_replaced_unless_they_have_changed(db: Database) -> None:
    await add(db, HOOK)
    async with db.begin() as tx:
        assert await tx.webhooks.secrets() == [("w", "sealed")]
        await tx.webhooks.replace_secret("w", old="other", new="no")
        await tx.webhooks.replace_secret("w", old="sealed", new="new")
        assert await tx.webhooks.secrets() == [("w", "new")]
