"""A dispatcher over an agent that is a script of answers, with a clock on which no pause takes any time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from app.domain.breaker import Breaker
from app.domain.retries import RetryBudget
from app.domain.tasks import TaskRun
from app.metrics import Metrics
from app.services.tasks.assignments import Assignment, TaskOutcome
from app.services.tasks.breakers import Breakers
from app.services.tasks.dispatch import Dispatcher
from app.settings import AgentSettings
from app.store.database import Database
from app.store.model_store import ModelStore
from tcsfeel.wire.codec import pack, unpack
from tcsfeel.wire.tasks import Task, read_task, task_metadata
from tests.clocks import FakeClock, Sleeping
from tests.services.fakes import Highest, calling, profile
from tests.store.samples import client

TASK = Task(id="t.1.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0)
MODEL = pack({"w": np.zeros(4, np.float32)})
HEADER, BLOCK = MODEL.payload(task_metadata(TASK))
SIZE = len(HEADER) + len(BLOCK)

Step = int | tuple[int, bytes] | tuple[int, bytes, dict[str, str]] | Exception

OK: Step = (200, b"result")
Benches = Callable[..., Any]  # gives, for its steps, a context with a `Bench`


class Script:
    """An agent that answers as written, one step a call, and notes who called; a DELETE takes no step."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.calls: list[str] = []
        self.urls: list[httpx2.URL] = []
        self.tokens: list[str | None] = []
        self.queries: list[str] = []
        self.before: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.calls.append(request.method)
        self.urls.append(request.url)
        self.tokens.append(request.headers.get("Authorization", "").removeprefix("Bearer ") or None)
        self.queries.append(request.url.query.decode())
        assert request.url.path == f"/tasks/{TASK.id}"
        if request.method == "DELETE":
            return httpx2.Response(204)
        if request.method == "PUT":
            body = await request.aread()
            assert read_task(unpack(body)[1]) == TASK
        if self.before is not None:
            await self.before()
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]  # the last one goes on for ever
        if isinstance(step, Exception):
            raise step
        status, body, headers = (*((step, b"") if isinstance(step, int) else step), {})[:3]
        return httpx2.Response(status, stream=httpx2.ByteStream(body), headers=headers)


class Bench:
    """A dispatcher over a script, with everything that it touches."""

    def __init__(self, db: Database, script: Script, dispatcher: Dispatcher, clock: FakeClock, spool: Path) -> None:
        self.db = db
        self.script = script
        self.dispatcher = dispatcher
        self.clock = clock
        self.assignment = Assignment(client("a", profile=profile()), TASK, MODEL, ModelStore(spool))
        self.budget = RetryBudget(10)
        self.runs: dict[str, TaskRun] = {}
        self.outcome: TaskOutcome | None = None

    @property
    def run(self) -> TaskRun:
        """How far the task has come, as others see it."""
        return self.runs["a"]

    async def go(self) -> TaskOutcome:
        async with asyncio.timeout(20):
            self.outcome = await self.dispatcher.run(self.assignment, self.runs, self.budget)
        assert self.outcome.run is self.run
        return self.outcome

    def resume(self, attempts: int) -> None:
        """Make the task one that an earlier owner may have handed over, after so many attempts."""
        self.assignment = replace(self.assignment, run=TaskRun(attempts=attempts, resumed=True))

    async def breaker(self) -> Breaker:
        async with self.db.read() as tx:
            return (await tx.clients.get("a")).breaker

    def result(self) -> bytes:
        assert self.outcome is not None
        assert self.outcome.result is not None
        return bytes(self.assignment.spool.map(self.outcome.result.file.sha256))


@asynccontextmanager
async def dispatching(
    db: Database, counts: Metrics, spool: Path, *steps: Step, rng: random.Random | None = None, **settings: Any
) -> AsyncIterator[Bench]:
    """A bench with client `a`, whose agent answers in these `steps`."""
    async with db.begin() as tx:
        await tx.clients.add([client("a", profile=profile())])
    script, clock = Script(*steps), FakeClock(sleeping=Sleeping.SKIPS)
    async with calling(script, max_bytes=2_000_000) as caller:
        dispatcher = Dispatcher(
            caller=caller,
            breakers=Breakers(db, clock, counts, Highest()),
            settings=AgentSettings(**settings),
            clock=clock,
            metrics=counts,
            rng=rng or Highest(),
        )
        yield Bench(db, script, dispatcher, clock, spool)
