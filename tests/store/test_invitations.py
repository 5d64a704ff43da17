"""Invitations as rows, on both databases."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.errors import NotFound
from app.domain.invitations import Invitation
from app.store.database import Database
from tests.store.samples import NOW, unsaid

FULL = Invitation(
    id="0123456789abcdef",
    secret_hash=b"\x00\xff" * 16,
    uses=100_000,
    used=3,
    name="north",
    id_pattern="edge-*",
    tags={"site": "北"},
    replaces="edge-7",
    created_at=NOW,
    expires_at=NOW + 1 / 3,
    revoked_at=NOW + 1,
)


def invitation(name: str, **fields: Any) -> Invitation:
    given: dict[str, Any] = {"secret_hash": b"h", "uses": 1, "created_at": NOW, "expires_at": NOW + 1}
    return Invitation(id=name, **(given | fields))


async def add(db: Database, *added: Invitation) -> None:
    async with db.begin() as tx:
        for one in added:
            await tx.invitations.add(one)


def test_the_sample_has_something_in_every_field() -> None:
    assert unsaid(FULL) == set()


@pytest.mark.parametrize("stored", [FULL, invitation("bare")], ids=["every-field", "no-optional-field"])
async def test_an_invitation_comes_back_as_it_was_added(db: Database, stored: Invitation) -> None:
    await add(db, stored)
    async with db.begin() as tx:
        assert await tx.invitations.get(stored.id) == stored
        assert await tx.invitations.get(stored.id, for_update=True) == stored
        with pytest.raises(NotFound, match="there is no invitation 'other'"):
            await tx.invitations.get("other")


async def test_put_writes_what_changes(db: Database) -> None:
    await add(db, FULL, invitation("other"))
    changed = replace(FULL, used=4, revoked_at=NOW + 2)
    async with db.begin() as tx:
        await tx.invitations.put(replace(changed, name="ignored"))
    async with db.read() as tx:
        assert await tx.invitations.get(FULL.id) == changed
        assert await tx.invitations.get("other") == invitation("other")


async def test_pages_are_newest_first(db: Database) -> None:
    await add(db, invitation("a"), invitation("b"), invitation("c", created_at=NOW + 1), invitation("d"))
    async with db.read() as tx:
        first = await tx.invitations.page(limit=2, after=None)
        last = await tx.invitations.page(limit=2, after=(first.items[-1].created_at, first.items[-1].id))
    assert ([one.id for one in first.items], first.more) == (["c", "d"], True)
    assert ([one.id for one in last.items], last.more) == (["b", "a"], False)
