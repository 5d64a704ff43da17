"""Tasks that nothing needs any more."""

from pathlib import Path

from app.domain.mailbox import KEPT_SECONDS
from app.services.tasks.mailbox_retention import MailboxRetention
from app.store.database import Database
from tests.services.tasks.mailing import TASK, posting


async def test_a_task_is_removed_with_its_files_an_hour_after_its_deadline(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        retention = MailboxRetention(db, post.clock)
        await post.offer()
        await post.next()
        await post.deliver()
        post.clock.advance(TASK.deadline_seconds + KEPT_SECONDS - 1)
        await retention.tick()
        assert (await post.poll()).answer == "result"
        post.clock.advance(2.0)
        await retention.tick()
        assert (await post.poll()).answer == "unknown"
        async with db.glance() as tx:
            assert await tx.mailbox.find(TASK.id) is None
            assert sorted(await tx.removals.due(600.0, 10)) == sorted(post.files.names())
