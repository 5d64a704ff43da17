"""Events reach the receivers of webhooks at least once, whoever sends them and whatever fails."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.webhooks import PAUSES
from app.services.webhooks import deliveries as module
from app.store.database import Database
from app.store.events import EventPage
from app.store.leases import Fenced
from app.store.webhooks import WebhookLease
from tests.planes import until
from tests.services.webhooks.receivers import Bench, Receiver, bench_on, deliveries, verified
from tests.store.samples import training


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLE_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)


@pytest.fixture
async def bench(db: Database) -> AsyncIterator[Bench]:
    async with bench_on(db) as made:
        yield made


async def lease_of(bench: Bench, webhook_id: str, owner: str = "one") -> WebhookLease:
    async with bench.db.begin() as tx:
        lease = await tx.webhooks.claim(webhook_id, owner)
    assert lease is not None
    return lease


async def test_events_are_sent_signed_and_the_cursor_follows(bench: Bench) -> None:
    new = await bench.make()
    await bench.happen(3)
    await bench.deliveries.step(await lease_of(bench, new.webhook.id))
    assert [event["data"]["client_id"] for event in bench.receiver.events] == ["c0", "c1", "c2"]
    for request, body in bench.receiver.requests:
        shown = verified(new, request, body)
        assert (shown["type"], shown["data"]["type"]) == ("client.removed", "client.removed")
        assert shown["timestamp"].endswith("Z")
    stored = await bench.webhooks.get(new.webhook.id)
    assert (stored.cursor, stored.delivered_at, stored.problem) == (4, bench.clock.now(), None)
    assert (bench.counted("delivered"), bench.counted("failed")) == (3, 0)


async def test_only_the_events_that_it_wants_are_sent_and_none_of_webhooks(bench: Bench) -> None:
    async with bench.db.begin() as tx:
        await tx.trainings.add(training("t"))
    hooks = [await bench.make(), await bench.make("round.completed"), await bench.make(training_id="t")]
    await bench.happen(1)
    for new in hooks:
        await bench.deliveries.step(await lease_of(bench, new.webhook.id))
    assert [event["type"] for event in bench.receiver.events] == ["client.removed"]
    newest = (await bench.webhooks.get(hooks[0].webhook.id)).cursor
    assert [(await bench.webhooks.get(new.webhook.id)).cursor for new in hooks] == [newest] * 3


async def test_what_fails_is_tried_again_with_the_same_id_while_others_are_sent(bench: Bench) -> None:
    new = await bench.make()
    lease = await lease_of(bench, new.webhook.id)
    bench.receiver.status = 500
    await bench.happen(2)
    await bench.deliveries.step(lease)
    failing = await bench.webhooks.get(new.webhook.id)
    assert (failing.problem, failing.failing_since) == ("the receiver answered 500", bench.clock.now())
    bench.receiver.status = 204
    await bench.happen(1)
    await bench.deliveries.step(lease)
    assert len(bench.receiver.requests) == 3
    bench.clock.advance(PAUSES[0] * 1.2)
    await bench.deliveries.step(lease)
    assert sorted(bench.receiver.ids.values()) == [1, 2, 2]
    async with bench.db.read() as tx:
        assert await tx.webhooks.count_deliveries(new.webhook.id, "waiting") == 0
    assert (bench.counted("delivered"), bench.counted("failed")) == (3, 2)


async def test_after_its_last_try_a_delivery_is_dead_which_is_an_event_that_no_webhook_gets(bench: Bench) -> None:
    new = await bench.make()
    lease = await lease_of(bench, new.webhook.id)
    bench.receiver.status = 500
    await bench.happen(1)
    await bench.deliveries.step(lease)
    for pause in PAUSES:
        bench.clock.advance(pause * 1.2)
        await bench.deliveries.step(lease)
    (dead,) = (await bench.webhooks.dead(new.webhook.id, limit=9)).items
    assert (dead.attempts, dead.status, bench.counted("dead")) == (8, 500, 1)
    async with bench.db.read() as tx:
        died = (await tx.events.after(0, types=["webhook.delivery_died"], limit=9)).items
    assert [event.data for event in died] == [
        {"webhook_id": new.webhook.id, "event_id": dead.event_id, "reason": "the receiver answered 500"}
    ]
    await bench.deliveries.step(lease)
    assert len(bench.receiver.requests) == 8
    bench.receiver.status = 204
    await bench.webhooks.redeliver(new.webhook.id, None)
    await bench.deliveries.step(lease)
    assert bench.receiver.ids == {dead.message_id: 9}
    assert (await bench.webhooks.dead(new.webhook.id, limit=9)).items == []


async def test_a_receiver_that_is_gone_gets_nothing_until_it_is_enabled_and_then_all(bench: Bench) -> None:
    new = await bench.make()
    lease = await lease_of(bench, new.webhook.id)
    bench.receiver.status = 410
    await bench.happen(1)
    known = await bench.deliveries.step(lease)
    assert known is None, "the loop would go on with what it knew"
    assert not (await bench.webhooks.get(new.webhook.id)).enabled
    with pytest.raises(Fenced):
        await bench.deliveries.step(lease, known)
    await bench.happen(1)
    bench.receiver.status = 204
    await bench.webhooks.change(new.webhook.id, {"enabled": True})
    bench.clock.advance(PAUSES[0] * 1.2)
    for _ in range(2):
        await bench.deliveries.step(lease)
    assert sorted(bench.receiver.ids.values()) == [1, 2]


async def test_an_owner_that_dies_after_it_has_sent_leaves_the_events_to_its_successor(bench: Bench) -> None:
    new = await bench.make()
    await bench.happen(3)
    stale = await lease_of(bench, new.webhook.id)
    await bench.deliveries.step(stale)
    await bench.happen(2)
    async with bench.db.begin() as tx:
        await tx.webhooks.release(stale)
    fresh = await lease_of(bench, new.webhook.id, "two")
    with pytest.raises(Fenced):
        await bench.deliveries.step(stale)
    successor = deliveries(bench.db, bench.receiver, bench.clock, bench.counts, owner="two")
    await successor.step(fresh)
    assert list(bench.receiver.ids.values()) == [1] * 5


async def test_an_owner_that_lost_its_lease_while_it_sent_stores_nothing(bench: Bench) -> None:
    new = await bench.make()
    await bench.happen(1)
    lease = await lease_of(bench, new.webhook.id)

    class Taken(Receiver):
        """A receiver during whose answer another server takes the webhook."""

        async def exchange(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]  # as given
            async with bench.db.begin() as tx:
                await tx.webhooks.release(lease)
            await lease_of(bench, new.webhook.id, "two")
            return await super().exchange(*args, **kwargs)  # type: ignore[arg-type]  # as given

    receiver = Taken()
    with pytest.raises(Fenced):
        await deliveries(bench.db, receiver, bench.clock, bench.counts).step(lease)
    assert (await bench.webhooks.get(new.webhook.id)).cursor == new.webhook.cursor
    assert len(receiver.requests) == 1


async def test_a_step_that_follows_another_begins_without_a_transaction(bench: Bench) -> None:
    new = await bench.make()
    lease = await lease_of(bench, new.webhook.id)
    await bench.happen(1)
    known = await bench.deliveries.step(lease)
    assert known is not None
    assert (known.webhook, known.due, known.waiting) == (await bench.webhooks.get(new.webhook.id), [], 0)
    bench.receiver.status = 500
    await bench.happen(1)
    known = await bench.deliveries.step(lease, known)
    assert known is not None
    assert (known.due, known.waiting) == ([], 1)
    bench.clock.advance(PAUSES[0] * 1.2)
    bench.receiver.status = 204
    await bench.happen(1)
    known = await bench.deliveries.step(lease, known)  # as long as there are new events, it asks only when it stores
    assert known is not None
    assert [one.event_id for one in known.due] == [3]
    known = await bench.deliveries.step(lease, known)
    assert known is not None
    assert (known.due, known.waiting) == ([], 0)
    assert sorted(bench.receiver.ids.values()) == [1, 1, 2]
    assert await bench.deliveries.step(lease, known) is None  # there was nothing: it reads the webhook again


async def test_events_that_are_wanted_only_since_a_moment_ago_are_not_passed_over(bench: Bench) -> None:
    new = await bench.make("client.down")
    lease = await lease_of(bench, new.webhook.id)
    read = bench.deliveries._feed.page

    async def changed_meanwhile(**kwargs: Any) -> EventPage:
        await bench.webhooks.change(new.webhook.id, {"types": ["client.removed"]})
        await bench.happen(1)
        return await read(**kwargs)

    bench.deliveries._feed.page = changed_meanwhile  # type: ignore[method-assign]  # as given
    await bench.deliveries.step(lease)
    bench.deliveries._feed.page = read  # type: ignore[method-assign]  # as it was
    await bench.deliveries.step(lease)
    assert [event["type"] for event in bench.receiver.events] == ["client.removed"]


async def test_with_many_deliveries_waiting_no_further_events_are_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    new = await bench.make()
    lease = await lease_of(bench, new.webhook.id)
    bench.receiver.status = 500
    await bench.happen(1)
    await bench.deliveries.step(lease)
    await bench.happen(1)
    await bench.deliveries.step(lease)
    assert len(bench.receiver.requests) == 1


async def test_a_server_looks_for_webhooks_and_sends_until_it_is_closed(bench: Bench) -> None:
    running = asyncio.create_task(bench.deliveries.run())
    try:
        new = await bench.make()
        await bench.happen(2)

        async def has_both() -> bool:
            return len(bench.receiver.requests) == 2

        await until(has_both)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await bench.deliveries.close()
    assert await lease_of(bench, new.webhook.id, "two")  # since the lease was given back


async def test_of_two_servers_one_serves_a_webhook(bench: Bench) -> None:
    new = await bench.make()
    other = deliveries(bench.db, bench.receiver, bench.clock, bench.counts, owner="two")
    await asyncio.gather(bench.deliveries.tick(), other.tick())
    await bench.happen(1)

    async def arrived() -> bool:
        return (await bench.webhooks.get(new.webhook.id)).delivered_at is not None

    await until(arrived)
    assert len(bench.receiver.requests) == 1
    await other.close()
