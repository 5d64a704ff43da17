"""A task in the mailbox whose round goes on with its next owner, or after an interruption."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.domain.retries import RetryBudget
from app.domain.tasks import TaskRun
from app.metrics import Metrics
from app.services.fleet.clients import Clients
from app.services.tasks.answers import AgentFailed
from app.services.tasks.assignments import Assignment
from app.services.tasks.breakers import Breakers
from app.services.tasks.channels import Channels
from app.services.tasks.dispatch import Dispatcher
from app.services.tasks.pulls import Taken
from app.settings import AgentSettings, HealthSettings
from app.store.database import Database
from tests.planes import until
from tests.services.access.replicas import server
from tests.services.fakes import TOKENS, Highest
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
            dispatcher.run(
                Assignment(a, TASK, MODEL, post.spool, limit=1_000, run=TaskRun(resumed=True)), {}, RetryBudget(0)
            )
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


class Called:
    """A channel to agents that are called, whose agent refuses every question."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def asked(*_: Any, **__: Any) -> Any:
            self.asked.append(name)
            raise AgentFailed("not here", passing=False)

        return asked if name != "moved_at" else lambda *_: None


async def test_a_client_that_is_called_from_now_on_leaves_no_task_in_the_mailbox(
    db: Database, counts: Metrics, tmp_path: Path
) -> None:
    async with posting(db, tmp_path) as post, asyncio.timeout(20):
        push = Called()
        dispatcher = Dispatcher(
            caller=Channels(push, post.mailbox, counts),
            breakers=Breakers(db, post.clock, counts, Highest()),
            settings=AgentSettings(poll_seconds=0.01),
            clock=post.clock,
            metrics=counts,
            rng=Highest(),
        )
        async with db.read() as tx:
            a = await tx.clients.get("a")
        running = asyncio.create_task(
            dispatcher.run(Assignment(a, TASK, MODEL, post.spool, limit=1_000), {}, RetryBudget(0))
        )

        async def is_taken() -> bool:
            return isinstance(await post.next(), Taken)

        await until(is_taken)
        clients = Clients(db, post.clock, counts, HealthSettings(), TOKENS, keys=server(db).keys)
        await clients.put("a", replace(a.profile, url="http://agent"))
        outcome = await running
        assert (outcome.reason, set(push.asked)) == ("not here", {"poll"})
        async with db.read() as tx:
            task = await tx.mailbox.find(TASK.id)
        assert task is not None
        assert (task.state, task.files) == ("cancelled", set())
