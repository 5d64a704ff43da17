"""API keys are made, rotated and revoked."""

import asyncio

import pytest

from app.domain.errors import NotFound, StateForbids
from app.origins import acting
from app.services.access.keys import Unauthenticated
from app.store.database import Database
from tests.services.access.replicas import server
from tests.store.samples import client


async def events(db: Database) -> list[tuple[str, str | None, dict[str, object]]]:
    async with db.read() as tx:
        return [(one.type, one.client_id, dict(one.data)) for one in (await tx.events.after(0, limit=100)).items]


async def test_a_new_key_says_who_made_it_and_until_when_it_is_valid(db: Database) -> None:
    found = server(db)
    with acting("admin key"):
        new = await found.keys.create(name="ci", role="operator", lifetime_seconds=60)
    key = await found.keys.get(new.key.id)
    now = found.clock.now()
    assert key == new.key
    assert (key.name, key.role, key.client_id, key.created_by) == ("ci", "operator", None, "admin key")
    assert (key.created_at, key.expires_at, key.last_used_at, found.keys.state(key)) == (now, now + 60, None, "valid")
    assert await events(db) == [("key.created", None, {"key_id": key.id, "name": "ci", "role": "operator"})]


async def test_a_key_is_issued_in_a_transaction_or_not_at_all(db: Database) -> None:
    found = server(db)

    async def enrol(*, fails: bool) -> str:
        async with db.begin() as tx:
            new = await found.keys.issue(tx, name="edge-7", role="agent", client_id="edge-7")
            if fails:
                raise ZeroDivisionError
        return new.text

    with pytest.raises(ZeroDivisionError):
        await enrol(fails=True)
    assert (await found.keys.page(limit=10)).items == []
    caller = await found.callers.identify(await enrol(fails=False))
    assert (caller.role, caller.client_id) == ("agent", "edge-7")


async def test_a_rotated_key_and_its_replacement_are_both_valid_for_a_time(db: Database) -> None:
    found = server(db)
    old = await found.keys.create(name="ci", role="operator")
    await found.callers.refresh()
    await found.callers.identify(old.text)
    new = await found.keys.rotate(old.key.id, grace_seconds=60)
    assert (new.key.name, new.key.role, new.key.replaces) == ("ci", "operator", old.key.id)
    assert new.key.expires_at is None
    for text in (old.text, new.text):
        assert (await found.callers.identify(text)).name == "ci"
    found.clock.advance(61)
    assert (await found.callers.identify(new.text)).key_id == new.key.id
    with pytest.raises(Unauthenticated, match="has expired"):
        await found.callers.identify(old.text)
    assert (await events(db))[-1] == (
        "key.rotated",
        None,
        {"key_id": old.key.id, "name": "ci", "role": "operator", "replacement": new.key.id},
    )


async def test_a_replacement_lives_as_long_as_the_key_was_meant_to_live(db: Database) -> None:
    found = server(db)
    old = await found.keys.create(name="ci", role="operator", lifetime_seconds=100)
    found.clock.advance(90)
    new = await found.keys.rotate(old.key.id)
    assert new.key.expires_at == found.clock.now() + 100
    assert (await found.keys.get(old.key.id)).expires_at == old.key.expires_at
    longer = await found.keys.rotate(new.key.id, lifetime_seconds=500)
    assert longer.key.expires_at == found.clock.now() + 500


async def test_a_key_that_is_not_valid_cannot_be_rotated(db: Database) -> None:
    found = server(db)
    old = await found.keys.create(name="ci", role="operator")
    await found.keys.revoke(old.key.id)
    with pytest.raises(StateForbids, match="cannot rotate a key that is revoked"):
        await found.keys.rotate(old.key.id)
    with pytest.raises(NotFound):
        await found.keys.rotate("0" * 12)
    assert len((await found.keys.page(limit=10)).items) == 1


async def test_revoking_twice_changes_nothing_and_is_one_event(db: Database) -> None:
    found = server(db)
    new = await found.keys.create(name="edge-7", role="agent", client_id="edge-7")
    await found.keys.revoke(new.key.id)
    first = await found.keys.get(new.key.id)
    found.clock.advance(10)
    await found.keys.revoke(new.key.id)
    assert await found.keys.get(new.key.id) == first
    assert found.keys.state(first) == "revoked"
    assert [(kind, client) for kind, client, _ in await events(db)] == [
        ("key.created", "edge-7"),
        ("key.revoked", "edge-7"),
    ]
    with pytest.raises(NotFound):
        await found.keys.revoke("0" * 12)


async def test_all_keys_of_a_clients_agent_are_revoked_in_a_transaction(db: Database) -> None:
    found = server(db)
    made = [await found.keys.create(name=name, role="agent", client_id=name) for name in ("a", "a", "b")]
    for new in made:
        await found.callers.refresh()
        await found.callers.identify(new.text)
    async with db.begin() as tx:
        assert [await found.keys.goes_on(tx, new.key.id) for new in made] == [True, True, True]
        ended = await found.keys.revoke_of(tx, "a")
        assert [await found.keys.goes_on(tx, new.key.id) for new in made] == [False, False, True]
        assert await found.keys.revoke_of(tx, "a") == await found.keys.revoke_of(tx, "c") == []
    found.keys.forget(ended)
    assert set(ended) == {new.key.id for new in made[:2]}
    for new in made[:2]:
        with pytest.raises(Unauthenticated, match="was revoked"):
            await found.callers.identify(new.text)
    assert (await found.callers.identify(made[2].text)).client_id == "b"
    assert [kind for kind, *_ in await events(db)] == ["key.created"] * 3 + ["key.revoked"] * 2


async def test_a_key_that_is_rotated_while_the_keys_of_its_client_are_revoked_is_revoked_with_them(
    db: Database,
) -> None:
    found = server(db)
    old = await found.keys.create(name="edge-7", role="agent", client_id="edge-7")

    async def revoke() -> None:
        async with db.begin() as tx:
            found.keys.forget(await found.keys.revoke_of(tx, "edge-7"))

    async with db.begin() as tx:
        await tx.api_keys.hold(old.key.id)  # as a rotation does
        revoking = asyncio.create_task(revoke())
        await asyncio.sleep(0.05)  # it waits for its turn now
        new = await found.keys.issue(tx, name="edge-7", role="agent", client_id="edge-7")
    await revoking
    assert [found.keys.state(await found.keys.get(one.key.id)) for one in (old, new)] == ["revoked", "revoked"]


async def test_a_key_goes_on_in_those_that_replace_it(db: Database) -> None:
    found = server(db)
    first = await found.keys.create(name="a", role="agent", client_id="a")
    second = await found.keys.rotate(first.key.id, grace_seconds=0)
    third = await found.keys.rotate(second.key.id, grace_seconds=0)
    await found.keys.create(name="spare", role="agent", client_id="a")
    found.clock.advance(1)
    async with db.read() as tx:
        assert await found.keys.goes_on(tx, first.key.id)
    await found.keys.revoke(third.key.id)
    async with db.read() as tx:
        assert not await found.keys.goes_on(tx, first.key.id), "a spare key of the same client is another line"


async def test_of_two_keys_that_replace_one_the_newest_goes_on(db: Database) -> None:
    found = server(db)
    first = await found.keys.create(name="a", role="agent", client_id="a")
    lost = await found.keys.rotate(first.key.id)
    found.clock.advance(1)
    await found.keys.rotate(first.key.id)
    await found.keys.revoke(first.key.id)
    await found.keys.revoke(lost.key.id)
    async with db.read() as tx:
        assert await found.keys.goes_on(tx, first.key.id)


async def test_of_new_clients_those_are_kept_out_whose_agents_had_keys_and_have_no_valid_one(db: Database) -> None:
    found = server(db)
    for name, lifetime in (("ended", None), ("valid", None), ("expired", 1.0)):
        await found.keys.create(name=name, role="agent", client_id=name, lifetime_seconds=lifetime)
    again = await found.keys.create(name="valid", role="agent", client_id="valid")
    for key in (await found.keys.page(limit=1, client_id="ended")).items:
        await found.keys.revoke(key.id)
    await found.keys.revoke(again.key.id)
    found.clock.advance(2.0)
    new = [client(name) for name in ("ended", "valid", "expired", "without")]
    async with db.begin() as tx:
        await tx.clients.add(new)
        after = await found.keys.keep_out(tx, new)
    assert [one.id for one in after if one.identity.shut_out] == ["ended"]
    async with db.read() as tx:
        stored = await tx.clients.some([one.id for one in new])
    assert [one.id for one in stored if one.identity.shut_out] == ["ended"]
