"""The loops of a process begin when it starts, and end with it."""

import asyncio
from pathlib import Path

from app.composition import build
from app.services.lifetime import running
from tests.clocks import FakeClock
from tests.planes import settings


async def test_a_process_that_ends_leaves_no_loop_behind(tmp_path: Path, sqlite_url: str) -> None:
    system = build(settings(tmp_path / "data", sqlite_url), FakeClock(), None)
    before = asyncio.all_tasks()
    async with running(system):
        assert len(asyncio.all_tasks() - before) > 3
    assert asyncio.all_tasks() == before
