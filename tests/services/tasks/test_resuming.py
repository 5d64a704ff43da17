"""A task in the mailbox whose round goes on with its next owner, or after an interruption."""

import asyncio
from pathlib import Path

from app.domain.retries import RetryBudget
from app.metrics import Metrics
from app.services.tasks.assignments import Assignment
from app.services.tasks.breakers import Breakers
from app.services.tasks.dispatch import Dispatcher
from app.services.tasks.pulls import Taken
from app.settings import AgentSettings
from app.store.database import Database
from tests.planes import until
from tests.services.fakes import Highest
from tests.services.tasks.mailing import MODEL, TASK, posting


async def test_a_task_of_a_round_that_was_prolonged_is_open_as_long_as_the_round(
    db: Database, counts: Metrics, tmp_path: Path
) -> None:
    async with posting(db, tmp_path) as post, asyncio.timeout(20):
        await post.offer()
        assert isinstance(await post.next(), Taken)
        post.clock.advance(TASK.deadline_seconds + 1)
        dispatcher = Dispatcher(
            caller=post.mailbox,
            breakers=Breakers(db, post.clock, counts, Highest()),
            settings=AgentSettings(),
            clock=post.clock,
            metrics=counts,
            rng=Highest(),
        )
        async with db.read() as tx:
            a = await tx.clients.get("a")
        running = asyncio.create_task(
            dispatcher.run(Assignment(a, TASK, MODEL, post.spool, limit=1_000, resumed=True), {}, RetryBudget(0))
        )

        async def is_given_again() -> bool:
            return isinstance(await post.next(), Taken)

        await until(is_given_again)
        watching = asyncio.create_task(post.watch.run())
        await post.deliver()
        outcome = await running
        watching.cancel()
    assert outcome.result is not None
    assert outcome.run.attempts == 1
