"""Who calls: the keys that a server knows, and how soon it learns that one is no longer valid."""

import asyncio

import pytest
from sqlalchemy import text as sql

from app.domain.keys import new_id, new_text
from app.domain.principals import ADMIN, Principal
from app.services.access import callers
from app.services.access.callers import TRUSTED_SECONDS, USE_SECONDS, Callers
from app.services.access.keys import Unauthenticated
from app.store.database import Database
from tests.services.access.replicas import ADMIN as ADMIN_KEY
from tests.services.access.replicas import server
from tests.store.statements import statements


async def refused(found: Callers, text: str | None) -> str:
    with pytest.raises(Unauthenticated) as error:
        await found.identify(text)
    return str(error.value)


async def test_the_admin_key_needs_no_database(db: Database) -> None:
    found = server(db).callers
    with statements() as sent:
        assert await found.identify(ADMIN_KEY.reveal()) == ADMIN
        assert "send the header" in await refused(found, None)
        for text in ("", "wrong", "tcsfeel_admin_x", new_text("admin", new_id()) + "0"):
            assert "is not valid" in await refused(found, text)
    assert sent == []


async def test_a_key_names_its_caller_and_is_read_once(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="ci", role="operator")
    await found.callers.refresh()
    expected = Principal("operator", "ci", new.key.id, None)
    assert await found.callers.identify(new.text) == expected
    with statements() as sent:
        for _ in range(10):
            assert await found.callers.identify(new.text) == expected
    assert sent == []


async def test_a_key_is_remembered_from_its_first_use_to_its_end(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="ci", role="operator")
    await found.callers.refresh()
    with statements() as sent:
        assert found.callers.remembers(ADMIN_KEY.reveal())
        for text in (new.text, "", "wrong", new_text("operator", new.key.id)):
            assert not found.callers.remembers(text)
    assert sent == []
    await found.callers.identify(new.text)
    assert found.callers.remembers(new.text)
    await found.keys.revoke(new.key.id)
    assert not found.callers.remembers(new.text)


async def test_a_key_that_was_made_up_is_refused(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="ci", role="viewer")
    forged = new_text("viewer", new.key.id)
    await found.callers.identify(new.text)
    for text in (forged, new_text("viewer", new_id()), new.text.replace("_viewer_", "_admin_"), new.text.upper()):
        assert "is not valid" in await refused(found.callers, text)
    assert (await found.callers.identify(new.text)).name == "ci"


async def test_a_device_is_told_what_it_needs_from_an_operator(db: Database) -> None:
    found = server(db)
    made_up = new_text("agent", new_id())
    revoked = await found.keys.create(name="a", role="agent", client_id="a")
    expiring = await found.keys.create(name="b", role="agent", client_id="b", lifetime_seconds=60)
    await found.keys.revoke(revoked.key.id)
    found.clock.advance(61)
    for text, why in ((made_up, "is not valid"), (revoked.text, "was revoked"), (expiring.text, "has expired")):
        told = await refused(found.callers, text)
        assert why in told
        assert told.endswith("ask an operator for an invitation for this device, and enrol with it")
        assert "admin" not in told


async def test_a_key_expires_by_the_clock_even_if_it_is_remembered(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="ci", role="viewer", lifetime_seconds=60)
    await found.callers.refresh()
    await found.callers.identify(new.text)
    found.clock.advance(59.9)
    await found.callers.identify(new.text)
    found.clock.advance(0.2)
    assert "has expired" in await refused(found.callers, new.text)


async def test_a_key_that_is_revoked_here_is_refused_at_once(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="ci", role="viewer")
    await found.callers.refresh()
    await found.callers.identify(new.text)
    await found.keys.revoke(new.key.id)
    assert "was revoked" in await refused(found.callers, new.text)


async def test_another_server_learns_of_a_revoked_key_by_its_next_question(db: Database) -> None:
    here = server(db)
    there = server(db, clock=here.clock)
    first, second = [await here.keys.create(name=name, role="viewer") for name in ("a", "b")]
    await there.callers.refresh()
    for new in (first, second):
        await there.callers.identify(new.text)
    await here.keys.revoke(first.key.id)
    await there.callers.refresh()
    assert "was revoked" in await refused(there.callers, first.text)
    with statements() as sent:
        assert (await there.callers.identify(second.text)).name == "b"
    assert sent == []  # the other key is still remembered


async def test_a_server_that_cannot_ask_trusts_what_it_remembers_for_less_than_five_seconds(db: Database) -> None:
    here = server(db)
    there = server(db, clock=here.clock)
    new = await here.keys.create(name="ci", role="viewer")
    await there.callers.refresh()
    await there.callers.identify(new.text)
    await here.keys.revoke(new.key.id)
    there.pass_seconds(TRUSTED_SECONDS - 0.1)
    assert (await there.callers.identify(new.text)).name == "ci"
    there.pass_seconds(0.2)
    assert "was revoked" in await refused(there.callers, new.text)
    assert TRUSTED_SECONDS < 5


async def test_nothing_is_trusted_before_the_first_question(db: Database) -> None:
    here = server(db)
    there = server(db, clock=here.clock)
    new = await here.keys.create(name="ci", role="viewer")
    await there.callers.identify(new.text)
    await here.keys.revoke(new.key.id)
    assert "was revoked" in await refused(there.callers, new.text)
    await there.callers.refresh()  # which finds the change as the newest one
    assert "was revoked" in await refused(there.callers, new.text)


async def test_a_key_that_changes_while_it_is_read_is_not_remembered(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="ci", role="viewer")
    await found.callers.refresh()
    reading = asyncio.create_task(found.callers.identify(new.text))
    await asyncio.sleep(0)
    found.callers.forget(new.key.id)
    assert (await reading).name == "ci"
    with statements() as sent:
        await found.callers.identify(new.text)
    assert len(sent) == 1


async def test_the_last_use_is_written_once_a_minute_and_not_by_the_call(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="ci", role="viewer")
    await found.callers.refresh()
    used = []
    for seconds in (0.0, USE_SECONDS - 1, 1.0, 1.0):
        found.clock.advance(seconds)
        await found.callers.identify(new.text)
        with statements() as sent:
            await found.callers.write()
        used.append((await found.keys.get(new.key.id)).last_used_at)
        assert bool(sent) == (seconds in {0.0, 1.0} and len(used) != 4)
    start = used[0]
    assert start is not None
    assert used == [start, start, start + USE_SECONDS, start + USE_SECONDS]


async def test_few_strangers_with_invented_keys_read_the_database_at_the_same_time(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = server(db).callers
    most = under_way = 0
    glance = db.glance

    class Counted:
        async def __aenter__(self) -> object:
            nonlocal most, under_way
            under_way += 1
            most = max(most, under_way)
            self._inner = glance()
            return await self._inner.__aenter__()

        async def __aexit__(self, *error: object) -> None:
            nonlocal under_way
            under_way -= 1
            await self._inner.__aexit__(None, None, None)

    monkeypatch.setattr(db, "glance", Counted)
    await asyncio.gather(*(refused(found, new_text("admin", new_id())) for _ in range(20)))
    assert most == callers.LOOKUPS


async def test_only_so_many_keys_are_remembered(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MOST_REMEMBERED", 2)
    found = server(db)
    await found.callers.refresh()
    made = [await found.keys.create(name=str(number), role="viewer") for number in range(3)]
    for new in made:
        await found.callers.identify(new.text)
    with statements() as sent:
        await found.callers.identify(made[2].text)
        assert sent == []
        await found.callers.identify(made[0].text)
    assert len(sent) == 1


async def test_a_key_outlives_the_secret_that_hashed_it_once_it_was_used_with_a_newer_one(db: Database) -> None:
    old, new = "an-older-secret-" * 2, "a-newer-secret--" * 2
    made = await server(db, secrets=(old,)).keys.create(name="ci", role="viewer")
    both = server(db, secrets=(new, old)).callers
    await both.identify(made.text)
    await both.write()
    assert (await server(db, secrets=(new,)).callers.identify(made.text)).name == "ci"
    assert "is not valid" in await refused(server(db, secrets=(old,)).callers, made.text)


async def test_what_was_stored_does_not_open_the_server(db: Database) -> None:
    new = await server(db).keys.create(name="ci", role="admin")
    async with db.read() as tx:
        row = (await tx.connection.execute(sql("SELECT * FROM api_keys"))).one()
    assert new.text not in str(row)
    assert new.text.rpartition("_")[2] not in str(row)
    assert new.text not in f"{new} {new.key}"


async def test_a_change_of_a_key_is_told_to_those_who_wait(db: Database) -> None:
    here, there = server(db), server(db)
    new = await here.keys.create(name="ci", role="viewer")
    await here.callers.refresh()
    await there.callers.refresh()
    told = [here.callers.next_change, there.callers.next_change]
    await here.keys.revoke(new.key.id)
    assert [one.done() for one in told] == [True, False]
    await there.callers.refresh()
    assert told[1].done()
    assert not here.callers.next_change.done(), "the next change is another one"
