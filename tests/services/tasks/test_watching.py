"""Waiting for changes of tasks: one question to the database for all who wait."""

import asyncio
from pathlib import Path

import pytest

from app.services.tasks import watching
from app.services.tasks.watching import News
from app.store.database import Database
from tests.services.tasks.mailing import AGENT, TASK, posting
from tests.store.statements import statements


async def test_one_statement_wakes_all_who_wait(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await post.offer()
        with post.watch.agent("a", ()) as news, post.watch.owner(TASK.id, "taken") as changed:
            waits = [post.watch.agent(f"b{number}", ()) for number in range(3)]
            for wait in waits:
                wait.__enter__()
            assert (post.watch.waiting, post.watch.load) == (4, 0.4)
            with statements() as said:
                await post.watch.look()
            assert len([one for one in said if "FROM tasks" in one]) == 1
            assert news.result() == News(task=True)
            assert changed.is_set()
            for wait in waits:
                wait.__exit__(None, None, None)
        assert post.watch.waiting == 0


async def test_the_last_look_knows_who_may_have_a_task_until_it_is_outdated(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        assert post.watch.may_have("a", ())  # there was no look yet
        await post.offer()
        with post.watch.agent("b", ()):
            await post.watch.look()
        assert [post.watch.may_have("a", known) for known in ((), (TASK.id,))] == [True, False]
        assert not post.watch.may_have("c", ())


async def test_nothing_is_asked_while_nothing_waits(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        with statements() as said:
            await post.watch.look()
        assert said == []


async def test_an_owner_is_not_woken_by_the_state_that_it_has_seen(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await post.offer()
        with post.watch.owner(TASK.id, "offered") as changed:
            await post.watch.look()
            assert not changed.is_set()
            await post.next()
            await post.watch.look()
            assert changed.is_set()


async def test_a_look_that_could_not_read_every_task_calls_none_unwanted(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with posting(db, tmp_path) as post:
        await post.offer()
        with post.watch.agent("a", (TASK.id, "t.2.a.fit")) as news:
            monkeypatch.setattr(watching, "MOST_OPEN", 1)
            await post.watch.look()
            assert not news.done()
            monkeypatch.setattr(watching, "MOST_OPEN", 2)
            await post.watch.look()
            assert news.result().unwanted == ("t.2.a.fit",)


async def test_a_hint_is_followed_at_once(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        watching = asyncio.create_task(post.watch.run())
        with post.watch.agent("a", (TASK.id,)) as news:
            await post.offer()
            await post.mailbox.forget(AGENT, TASK.id)
            post.watch.hint()
            assert (await asyncio.wait_for(news, 10)).unwanted == (TASK.id,)
        watching.cancel()


async def test_after_the_stop_nobody_waits(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        with post.watch.agent("a", ()) as news:
            post.watch.stop()
            assert news.result() == News(leave=True)
        assert post.watch.load == 1.0
        with post.watch.agent("a", ()) as news:
            assert news.result().leave
