"""API keys as rows, on both databases."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.domain.errors import NotFound
from app.domain.keys import ApiKey
from app.store.database import Database
from tests.store.samples import NOW


def key(key_id: str = "k", **fields: Any) -> ApiKey:
    given: dict[str, Any] = {
        "name": "ci",
        "role": "operator",
        "client_id": None,
        "hash": key_id.encode() * 8,
        "created_at": NOW,
        "created_by": "admin key",
    }
    return ApiKey(id=key_id, **(given | fields))


FULL = key(
    role="agent",
    client_id="edge-7",
    expires_at=NOW + 60,
    revoked_at=NOW + 50,
    last_used_at=NOW + 40,
    replaces="j",
)


async def stored(db: Database, *keys: ApiKey) -> None:
    async with db.begin() as tx:
        for one in keys:
            await tx.api_keys.add(one)


async def end(db: Database, one: ApiKey) -> None:
    async with db.begin() as tx:
        await tx.api_keys.hold(one.id)
        await tx.api_keys.end(one)


@pytest.mark.parametrize("one", [key(), FULL])
async def test_a_key_is_read_as_it_was_written(db: Database, one: ApiKey) -> None:
    await stored(db, one)
    async with db.read() as tx:
        assert await tx.api_keys.get("k") == one
        assert await tx.api_keys.find("k") == one
        assert await tx.api_keys.find("other") is None
        with pytest.raises(NotFound, match="there is no key 'other'"):
            await tx.api_keys.get("other")


async def test_each_end_of_a_key_is_a_change_that_is_seen_once(db: Database) -> None:
    await stored(db, key("a"), key("b"))
    async with db.read() as tx:
        assert await tx.api_keys.last_change() == 0
        assert await tx.api_keys.changed(0) == {}
    await end(db, replace(key("a"), revoked_at=NOW))
    await end(db, replace(key("b"), expires_at=NOW))
    async with db.read() as tx:
        assert await tx.api_keys.changed(0) == {"a": 1, "b": 2}
        assert await tx.api_keys.changed(1) == {"b": 2}
        assert await tx.api_keys.last_change() == 2
        assert (await tx.api_keys.get("a")).revoked_at == NOW
        assert (await tx.api_keys.get("b")).expires_at == NOW


async def test_changes_that_happen_together_have_different_numbers(db: Database) -> None:
    await stored(db, *(key(str(number)) for number in range(5)))
    await asyncio.gather(*(end(db, replace(key(str(number)), revoked_at=NOW)) for number in range(5)))
    async with db.read() as tx:
        assert sorted((await tx.api_keys.changed(0)).values()) == [1, 2, 3, 4, 5]


async def test_the_last_use_never_goes_back_and_is_no_change(db: Database) -> None:
    await stored(db, key("a"), key("b", last_used_at=NOW + 5))
    async with db.begin() as tx:
        await tx.api_keys.used({"a": NOW, "b": NOW, "gone": NOW})
    async with db.read() as tx:
        assert (await tx.api_keys.get("a")).last_used_at == NOW
        assert (await tx.api_keys.get("b")).last_used_at == NOW + 5
        assert await tx.api_keys.last_change() == 0


async def test_a_hash_can_be_replaced(db: Database) -> None:
    await stored(db, key("a"), key("b"))
    async with db.begin() as tx:
        await tx.api_keys.rehash({"a": b"new"}, "0f")
    async with db.read() as tx:
        assert (await tx.api_keys.get("a")).hash == b"new"
        assert (await tx.api_keys.get("b")).hash == key("b").hash


async def test_a_page_lists_the_newest_keys_that_meet_the_conditions(db: Database) -> None:
    await stored(
        db,
        key("a", created_at=NOW + 1),
        key("b", created_at=NOW + 2, role="agent", client_id="edge-7", expires_at=NOW + 10),
        key("c", created_at=NOW + 2, revoked_at=NOW + 3, expires_at=NOW + 10),
        key("d", created_at=NOW + 3, expires_at=NOW + 20),
    )

    async def listed(**conditions: Any) -> list[str]:
        async with db.read() as tx:
            page = await tx.api_keys.page(**({"limit": 10, "now": NOW + 10} | conditions))
        return [one.id for one in page.items] + ["…"] * page.more

    assert await listed() == ["d", "c", "b", "a"]
    assert await listed(limit=2) == ["d", "c", "…"]
    assert await listed(limit=2, after=(NOW + 2, "c")) == ["b", "a"]
    assert await listed(state="valid") == ["d", "a"]
    assert await listed(state="expired") == ["b"]
    assert await listed(state="revoked") == ["c"]
    assert await listed(role="agent") == ["b"]
    assert await listed(client_id="edge-7", state="valid", now=NOW + 9) == ["b"]
