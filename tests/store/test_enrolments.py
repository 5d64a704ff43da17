"""Enrolments as rows, on both databases."""

from dataclasses import replace
from typing import Any

from app.domain.invitations import Enrolment
from app.store.database import Database
from tests.store.samples import NOW, unsaid

FULL = Enrolment(
    client_id="edge-7", public_key="K" * 43, invitation_id="i1", key_id="k1", enrolled_at=NOW, tags={"site": "北"}
)


def enrolment(client_id: str, **fields: Any) -> Enrolment:
    return replace(FULL, **{"client_id": client_id, "public_key": f"K-{client_id}", "tags": {}} | fields)


async def add(db: Database, *added: Enrolment) -> list[bool]:
    async with db.begin() as tx:
        return [await tx.enrolments.add(one) for one in added]


def test_the_sample_has_something_in_every_field() -> None:
    assert unsaid(FULL) == set()


async def test_an_enrolment_comes_back_by_its_id_and_by_its_public_key(db: Database) -> None:
    await add(db, FULL, enrolment("edge-8"))
    async with db.read() as tx:
        assert await tx.enrolments.of_client("edge-7") == FULL
        assert await tx.enrolments.of_key(FULL.public_key) == FULL
        assert await tx.enrolments.of_client("edge-9") is None
        assert await tx.enrolments.of_key("K") is None
        assert await tx.enrolments.those(["edge-9", "edge-8", "edge-7"]) == {
            "edge-7": FULL,
            "edge-8": enrolment("edge-8"),
        }
        assert await tx.enrolments.those([]) == {}


async def test_an_id_and_a_public_key_are_taken_once(db: Database) -> None:
    same_id, same_key = enrolment("edge-7"), replace(FULL, client_id="edge-8")
    assert await add(db, FULL, same_id, same_key, enrolment("edge-8")) == [True, False, False, True]
    async with db.read() as tx:
        assert await tx.enrolments.of_client("edge-7") == FULL


async def test_put_writes_over_the_enrolment_of_the_client(db: Database) -> None:
    await add(db, FULL, enrolment("edge-8"))
    changed = enrolment("edge-7", public_key="new", invitation_id="i2", key_id="k2", enrolled_at=NOW + 1)
    async with db.begin() as tx:
        await tx.enrolments.put(changed)
    async with db.read() as tx:
        assert await tx.enrolments.of_client("edge-7") == changed
        assert await tx.enrolments.of_client("edge-8") == enrolment("edge-8")


async def test_pages_list_the_devices_of_an_invitation(db: Database) -> None:
    await add(db, *(enrolment(name) for name in "cab"), enrolment("d", invitation_id="other"))
    async with db.read() as tx:
        first = await tx.enrolments.page("i1", limit=2, after=None)
        last = await tx.enrolments.page("i1", limit=2, after="b")
    assert ([one.client_id for one in first.items], first.more) == (["a", "b"], True)
    assert ([one.client_id for one in last.items], last.more) == (["c"], False)
