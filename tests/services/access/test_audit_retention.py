"""Old audit records go, in portions, and the others stay a chain; without a setting all of them stay."""

from app.domain.audit import Call, hashed_fields
from app.services.access.audit_retention import AuditRetention
from app.settings import AuditSettings
from app.store.audit import AuditFilter
from app.store.database import Database
from app.store.portions import PORTION
from tcsfeel.audit import Chain

DAY = 86_400.0
CALL = Call(actor="anna", operation="POST /v1/clients", status=201)


async def filled(db: Database, *days_ago: float) -> None:
    async with db.begin() as tx:
        await tx.audit.append([(CALL, days * DAY) for days in days_ago])


async def left(db: Database) -> list[int]:
    """The numbers that are left, whose records have to be a chain."""
    chain = Chain()
    async with db.read() as tx:
        found = (await tx.audit.after(0, only=AuditFilter(), limit=10_000)).items
    for record in found:
        chain.check(hashed_fields(record) | {"hash": record.hash})
    return [record.sequence for record in found]


async def test_without_a_setting_all_records_stay(db: Database) -> None:
    await filled(db, 99, 3)
    await AuditRetention(db, AuditSettings()).tick()
    assert await left(db) == [1, 2]


async def test_records_go_by_their_age_and_the_newest_stays(db: Database) -> None:
    await filled(db, 9, 5, 3.1, 2.9, 5, 1)
    await AuditRetention(db, AuditSettings(keep_days=3)).tick()
    assert await left(db) == [4, 5, 6]  # only from the beginning
    await AuditRetention(db, AuditSettings(keep_days=1)).tick()
    assert await left(db) == [6]


async def test_an_empty_trail_stays_empty(db: Database) -> None:
    await AuditRetention(db, AuditSettings(keep_days=1)).tick()
    assert await left(db) == []


async def test_many_records_go_in_portions(sqlite: Database) -> None:
    await filled(sqlite, *[9.0] * (2 * PORTION + 3), 0.5)
    await AuditRetention(sqlite, AuditSettings(keep_days=1)).tick()
    assert await left(sqlite) == [2 * PORTION + 4]
