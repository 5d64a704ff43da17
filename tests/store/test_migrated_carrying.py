"""What carried tasks are once a database is brought back to the version before them."""

from sqlalchemy import text

from app.store import migrations
from app.store.database import Database
from tests.store.test_carried import added
from tests.store.test_migrated_goals import to_revision


async def test_the_version_before_reads_a_carried_task_as_one_that_was_skipped(blank_database_url: str) -> None:
    await migrations.upgrade(blank_database_url)
    db = Database(blank_database_url, foreign_keys=False)
    await added(db)
    async with db.begin() as tx:
        await tx.connection.run_sync(to_revision("0030", down=True))
    async with db.begin() as tx:
        query = text("SELECT client_id, status FROM participations WHERE training_id = 't'")
        found = {tuple(row) for row in await tx.connection.execute(query)}
    await db.dispose()
    assert found == {("a", "skipped"), ("b", "skipped"), ("c", "received")}
