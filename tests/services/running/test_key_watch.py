"""The loop that learns of changed keys."""

import asyncio
from contextlib import suppress

import pytest

from app.services.access.keys import Unauthenticated
from app.services.running.key_watch import KeyWatch
from app.store.database import Database
from tests.services.access.replicas import server


async def test_a_tick_asks_for_changes_and_writes_the_last_use(db: Database) -> None:
    here = server(db)
    there = server(db, clock=here.clock)
    watch = KeyWatch(there.callers)
    new = await here.keys.create(name="ci", role="viewer")
    await watch.tick()
    await there.callers.identify(new.text)
    await here.keys.revoke(new.key.id)
    await watch.tick()
    assert (await here.keys.get(new.key.id)).last_used_at == here.clock.now()
    with pytest.raises(Unauthenticated, match="was revoked"):
        await there.callers.identify(new.text)


async def test_the_loop_begins_with_a_question_and_what_is_left_is_written_at_the_end(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="ci", role="viewer")
    watch = KeyWatch(found.callers)
    asked = asyncio.Event()
    refresh = found.callers.refresh

    async def counted() -> None:
        await refresh()
        asked.set()

    found.callers.refresh = counted  # type: ignore[method-assign]  # it only notes the call
    loop = asyncio.create_task(watch.run())
    await asked.wait()
    loop.cancel()
    with suppress(asyncio.CancelledError):
        await loop
    await found.callers.identify(new.text)
    await watch.close()
    assert (await found.keys.get(new.key.id)).last_used_at == found.clock.now()
