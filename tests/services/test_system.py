"""The services of one process together."""

from pathlib import Path

from app.clock import SystemClock
from app.composition import build
from tests.planes import settings


async def test_a_system_that_disconnects_keeps_no_connection_to_either_pool(database_url: str, tmp_path: Path) -> None:
    system = build(settings(tmp_path, database_url), SystemClock(), None)
    for db in (system.db, system.coordinator_db):
        async with db.read() as tx:
            assert await tx.clients.ids() == []
    assert {db.connections() for db in (system.db, system.coordinator_db)} == {(0, 1)}
    await system.disconnect()
    assert {db.connections() for db in (system.db, system.coordinator_db)} == {(0, 0)}
    await system.caller.close()
