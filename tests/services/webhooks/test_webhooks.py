"""Webhooks are made, changed and removed; their secrets are encrypted; dead deliveries come back."""

from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.domain.errors import LimitReached, NotFound
from app.domain.webhooks import Delivery
from app.services.access.secrets import ServerSecret
from app.services.webhooks.webhooks import Webhooks
from app.store.database import Database
from tcsfeel.errors import Invalid
from tests.services.fakes import SECRET
from tests.services.webhooks.receivers import Bench, bench_on
from tests.store.samples import training

DEAD = Delivery(webhook_id="", event_id=1, type="a.b", body="{}", state="dead", attempts=8, next_at=1.0)


@pytest.fixture
async def bench(db: Database) -> AsyncIterator[Bench]:
    async with bench_on(db) as made:
        yield made


async def events(db: Database) -> list[str]:
    async with db.read() as tx:
        return [one.type for one in (await tx.events.after(0, limit=100)).items]


async def test_a_webhook_begins_with_the_next_event_and_its_secret_is_encrypted(bench: Bench) -> None:
    await bench.happen(3)
    new = await bench.make("round.completed")
    assert (new.webhook.cursor, new.webhook.types, new.webhook.created_by) == (3, ("round.completed",), "ada")
    stored = await bench.webhooks.get(new.webhook.id)
    assert stored == new.webhook
    assert new.secret not in stored.secret
    assert SECRET.decrypt(stored.secret) == new.secret
    assert len(b64decode(new.secret.removeprefix("whsec_"))) == 32
    assert new.secret not in repr(new)


async def test_a_training_that_does_not_exist_has_no_webhook(bench: Bench) -> None:
    with pytest.raises(Invalid, match="training t"):
        await bench.webhooks.create(url="http://a", types=(), training_id="t", name=None, created_by="ada")
    async with bench.db.begin() as tx:
        await tx.trainings.add(training("t"))
    new = await bench.make(training_id="t")
    with pytest.raises(Invalid, match="training u"):
        await bench.webhooks.change(new.webhook.id, {"training_id": "u"})


async def test_there_may_be_only_some(bench: Bench) -> None:
    for _ in range(3):
        await bench.make()
    with pytest.raises(LimitReached, match="TCSFEEL_LIMITS__WEBHOOKS"):
        await bench.make()
    assert len((await bench.webhooks.page(limit=10)).items) == 3


async def test_changes_and_removals_are_events(bench: Bench) -> None:
    webhook_id = (await bench.make()).webhook.id
    changed = await bench.webhooks.change(webhook_id, {"url": "http://b", "enabled": False})
    assert (changed.url, changed.enabled) == ("http://b", False)
    await bench.webhooks.remove(webhook_id)
    with pytest.raises(NotFound):
        await bench.webhooks.change(webhook_id, {"name": "x"})
    assert await events(bench.db) == ["webhook.created", "webhook.changed", "webhook.removed"]


async def test_dead_deliveries_are_tried_again_all_or_some(bench: Bench) -> None:
    webhook_id = (await bench.make()).webhook.id
    async with bench.db.begin() as tx:
        await tx.webhooks.keep([replace(DEAD, webhook_id=webhook_id, event_id=number) for number in (1, 2, 3)])
    assert [one.event_id for one in (await bench.webhooks.dead(webhook_id, limit=2)).items] == [1, 2]
    assert await bench.webhooks.redeliver(webhook_id, [2, 9]) == 1
    assert [one.event_id for one in (await bench.webhooks.dead(webhook_id, limit=9)).items] == [1, 3]
    assert await bench.webhooks.redeliver(webhook_id, None) == 2
    async with bench.db.read() as tx:
        due = await tx.webhooks.due(webhook_id, bench.clock.now(), 9)
    assert sorted((one.event_id, one.attempts) for one in due) == [(1, 0), (2, 0), (3, 0)]
    for call in (bench.webhooks.redeliver("none", None), bench.webhooks.dead("none", limit=1)):
        with pytest.raises(NotFound):
            await call


async def test_secrets_are_encrypted_again_with_the_newest_secret(bench: Bench) -> None:
    new = await bench.make()
    newer = ServerSecret([b"a newer secret", b"the secret of the server in tests"])
    assert await Webhooks(bench.db, bench.clock, newer, most=1).renew_secrets() == (1, [])
    stored = (await bench.webhooks.get(new.webhook.id)).secret
    assert ServerSecret([b"a newer secret"]).decrypt(stored) == new.secret
    stranger = ServerSecret([b"another one"])
    assert await Webhooks(bench.db, bench.clock, stranger, most=1).renew_secrets() == (0, [new.webhook.id])
