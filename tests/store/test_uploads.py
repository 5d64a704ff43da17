"""The parts of results that have come in only partly, as rows."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from app.domain.uploads import UploadPart, offset_of
from app.store.database import Database

FIRST = UploadPart("t.1.a.fit", "a", 0, 2**33, "a" * 64, 0.5)
SECOND = replace(FIRST, begins=2**33, size=5, sha256="b" * 64)
OTHER = replace(FIRST, task_id="t.1.b.fit", client_id="b", size=7, sha256="c" * 64)


async def add(db: Database, *parts: UploadPart) -> None:
    async with db.begin() as tx:
        for part in parts:
            await tx.uploads.add(part)


async def test_the_parts_of_a_task_are_read_in_their_order(db: Database) -> None:
    await add(db, SECOND, FIRST, OTHER)
    async with db.read() as tx:
        parts = await tx.uploads.parts(FIRST.task_id)
    assert parts == [FIRST, SECOND]
    assert (offset_of(parts), offset_of([])) == (2**33 + 5, 0)


async def test_two_parts_cannot_begin_at_one_byte(db: Database) -> None:
    await add(db, FIRST)
    with pytest.raises(IntegrityError):
        await add(db, replace(FIRST, size=1))


async def test_the_bytes_of_a_client_and_of_all_clients_are_counted(db: Database) -> None:
    async with db.read() as tx:
        assert await tx.uploads.held("a") == (0, 0)
    await add(db, FIRST, SECOND, OTHER)
    async with db.read() as tx:
        assert await tx.uploads.held("a") == (2**33 + 5, 2**33 + 12)
        assert await tx.uploads.held("nobody") == (0, 2**33 + 12)


async def test_a_file_with_a_part_is_not_removed_until_the_part_is_forgotten(db: Database) -> None:
    await add(db, FIRST, SECOND, OTHER)
    async with db.begin() as tx:
        await tx.removals.request([FIRST.sha256], at_once=True)
        assert await tx.removals.begin(FIRST.sha256) is None
        freed = await tx.uploads.drop(FIRST.task_id)
        assert freed == {FIRST.sha256, SECOND.sha256}
        await tx.removals.request(freed, at_once=True)
        assert await tx.removals.begin(FIRST.sha256) is not None
        assert await tx.uploads.parts(OTHER.task_id) == [OTHER]
