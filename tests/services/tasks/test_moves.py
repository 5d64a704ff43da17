"""When bytes last moved to and from agents.

Covers: app.services.tasks.agents, app.services.tasks.mailbox, app.services.tasks.watching
"""

from dataclasses import replace
from pathlib import Path

import httpx2

from app.services.tasks.bodies import MOVED_BYTES, TaskBody
from app.services.tasks.moves import MOST, Moves
from app.store.database import Database
from app.store.model_store import ModelStore
from tests.clocks import FakeClock
from tests.services.fakes import calling, endpoint
from tests.services.tasks.mailing import AGENT, TASK, posting

CALLED = endpoint("http://agent")


def test_the_last_movement_of_a_task_is_told_once() -> None:
    clock = FakeClock()
    moves = Moves(clock)
    assert moves.take("t") is None
    moves.note(CALLED, "t")
    clock.advance(5.0)
    moves.note(CALLED, "t")
    assert moves.take("t") == clock.now()
    assert moves.take("t") is None


def test_an_agent_is_moving_for_some_seconds_at_the_address_at_which_it_moved() -> None:
    clock = FakeClock()
    moves = Moves(clock)
    moves.note(CALLED, "t")
    clock.advance(5.0)
    assert moves.is_moving(CALLED, 5.0)
    assert not moves.is_moving(replace(CALLED, url="http://other"), 5.0)
    assert not moves.is_moving(replace(CALLED, public_key="another device"), 5.0)
    clock.advance(0.1)
    assert not moves.is_moving(CALLED, 5.0)


def test_not_everything_is_remembered() -> None:
    moves = Moves(FakeClock())
    for number in range(MOST + 1):
        moves.note(CALLED, f"t{number}")
    assert moves.take("t0") is None
    assert moves.take(f"t{MOST}") is not None


async def test_an_agent_that_pulls_moves_as_the_mailbox_says(db: Database, tmp_path: Path) -> None:
    async with posting(db, tmp_path) as post:
        await post.offer()
        assert post.mailbox.moved_at(AGENT, TASK.id) is None
        await post.deliveries.move(TASK.id)
        with post.watch.owner(TASK.id, "offered"):
            await post.watch.look()
        assert post.mailbox.moved_at(AGENT, TASK.id) == post.watch.moved_at(TASK.id) == post.clock.now()


async def test_an_agent_that_is_called_moves_with_each_large_piece(spool: ModelStore) -> None:
    small, large = TaskBody(b"h", memoryview(b"block")), TaskBody(b"h", memoryview(bytes(MOVED_BYTES)))

    async def accepts(request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        return httpx2.Response(202)

    async with calling(accepts) as agents:
        await agents.hand_over(CALLED, "small", small, spool)
        assert agents.moved_at(CALLED, "small") is None
        await agents.hand_over(CALLED, "large", large, spool)
        assert agents.moved_at(CALLED, "large") is not None
        assert agents.moved_at(CALLED, "large") is None
