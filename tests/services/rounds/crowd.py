"""Agents that keep their tasks until the test lets them answer, and count the bodies that they get and give."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain.breaker import Breaker
from app.domain.clients import Profile
from app.services.rounds.ending import SKIPPED_TOGETHER
from tcsfeel.wire.codec import encode
from tcsfeel.wire.tasks import TaskKind, result_metadata
from tests.planes import Plane, plane, policy, until
from tests.services.fakes import profile
from tests.services.rounds.foreign import RESULT

MANY = [f"c{number:03}" for number in range(SKIPPED_TOGETHER + 30)]
UNAWARE: dict[str, Any] = {"enabled": False, "tick_seconds": 60.0, "lease_seconds": 600}
"""An owner that learns only when it writes that its lease is lost."""
AWARE: dict[str, Any] = {**UNAWARE, "tick_seconds": 0.01}
MODEL = {"w": np.zeros(3, np.float32)}
UPDATE = encode(MODEL, result_metadata(RESULT))
MEASUREMENT = encode({}, result_metadata(RESULT))


class Crowd:
    """The agents of a fleet.

    Attributes:
        tasks: how many tasks of each kind the agents were given, and have not been told to forget.
        got: the bytes of the tasks that each client was given.
        gave: the bytes of the results that each client has sent.
        forgotten: how many tasks the agents were told to forget.
    """

    def __init__(self) -> None:
        self.tasks: Counter[TaskKind] = Counter()
        self.got: Counter[str] = Counter()
        self.gave: Counter[str] = Counter()
        self.forgotten = 0
        self._answering: dict[TaskKind, set[str]] = {"fit": set(), "evaluate": set()}
        self._news = asyncio.Condition()

    async def register(self, running: Plane, client_ids: Iterable[str]) -> None:
        """Register clients, each with an agent of this crowd."""
        profiles: list[tuple[str, Profile]] = []
        for client_id in client_ids:
            running.host._agents[client_id] = _Member(self, client_id)  # type: ignore[assignment]  # it answers like one
            profiles.append((client_id, profile(f"http://agents{running.host.path(client_id)}")))
        await running.system.clients.register(profiles)

    async def answer(self, kind: TaskKind, client_ids: Iterable[str]) -> None:
        """Let these clients answer their tasks of a kind."""
        self._answering[kind].update(client_ids)
        await self.tell()

    async def tell(self) -> None:
        """Let every poll look again."""
        async with self._news:
            self._news.notify_all()

    async def wait(self, kind: TaskKind, client_id: str, task: "_Task") -> None:
        """Return when a task has an answer."""
        async with self._news:
            await self._news.wait_for(lambda: task.forgotten or self.answers(kind, client_id))

    def answers(self, kind: TaskKind, client_id: str) -> bool:
        """Whether the test lets a client answer its task."""
        return client_id in self._answering[kind]

    async def has_tasks(self, kind: TaskKind, count: int) -> bool:
        """Whether the agents have so many tasks of a kind."""
        return self.tasks[kind] == count


class _Task:
    forgotten = False


class _Member:
    """The agent of one client."""

    def __init__(self, crowd: Crowd, client_id: str) -> None:
        self._crowd = crowd
        self._client_id = client_id
        self._tasks: dict[str, _Task] = {}

    async def respond(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if path.startswith("/tasks/"):
            response = await self._respond(request, path.removeprefix("/tasks/"))
        else:
            response = Response(encode(MODEL)) if path == "/model" else Response()
        await response(scope, receive, send)

    async def _respond(self, request: Request, task_id: str) -> Response:
        crowd, kind = self._crowd, _kind(task_id)
        if request.method == "PUT":
            crowd.got[self._client_id] += len(await request.body())
            crowd.tasks[kind] += task_id not in self._tasks
            self._tasks.setdefault(task_id, _Task())
            return Response(status_code=202)
        task = self._tasks.get(task_id)
        if task is None:
            return Response(status_code=404)
        if request.method == "DELETE":
            crowd.tasks[kind] -= not task.forgotten
            crowd.forgotten += not task.forgotten
            task.forgotten = True
            await crowd.tell()
            return Response(status_code=204)
        if request.query_params["wait"] != "0":
            await crowd.wait(kind, self._client_id, task)
        if task.forgotten:
            return Response(status_code=410)
        if not crowd.answers(kind, self._client_id):
            return Response(status_code=202)
        body = UPDATE if kind == "fit" else MEASUREMENT
        crowd.gave[self._client_id] += len(body)
        return Response(body)

    def close(self) -> None:
        """Nothing to end."""


def _kind(task_id: str) -> TaskKind:
    return "fit" if task_id.endswith("fit") else "evaluate"


@asynccontextmanager
async def outstanding(
    directory: Path, database_url: str, clients: Sequence[str], *, tripped: frozenset[str] = frozenset(), **fields: Any
) -> AsyncIterator[tuple[Plane, Crowd, str]]:
    """A training whose clients have all been given their task; the breakers of some of them were open."""
    crowd = Crowd()
    rules = policy(**{name: fields.pop(name) for name in ("quorum", "grace_seconds") if name in fields})
    given = {"agents": {"poll_seconds": 50.0, "concurrency": 1000}, "coordinator": UNAWARE, **fields}
    async with plane(directory, database_url, {}, **given) as running:
        await crowd.register(running, clients)
        async with running.system.db.begin() as tx:
            for client in await tx.clients.some(tripped):
                opened = Breaker(state="open", opened_at=1.0, retry_at=2.0, consecutive_failures=3, openings=1)
                await tx.clients.put(replace(client, breaker=opened))
        training_id = await running.create(clients=len(clients), round_policy=rules)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: crowd.has_tasks("fit", len(clients)))
        yield running, crowd, training_id
