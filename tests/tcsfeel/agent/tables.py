"""A task table over a trainer, and its entries once they are settled."""

import asyncio

from tcsfeel.agent import Trainer
from tcsfeel.agent.entries import Entry
from tcsfeel.agent.tasks import TaskTable
from tcsfeel.agent.workers import Workers
from tests.clocks import FakeClock

ID = "t.1.c.fit"


def table_of(trainer: Trainer, clock: FakeClock | None = None) -> TaskTable:
    return TaskTable(trainer, Workers(2), clock=(clock or FakeClock()).now)


async def settled(table: TaskTable, task_id: str = ID) -> Entry:
    async with asyncio.timeout(20):
        entry = await table.wait(task_id, 60)
    assert entry is not None
    return entry
