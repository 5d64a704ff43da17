"""A control plane that an agent pulls its tasks from."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httpx2

from tcsfeel.agent.app import Agent
from tcsfeel.agent.fetching import Fetching
from tcsfeel.agent.pulling import Puller
from tcsfeel.agent.signing import Signing
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.tasks import Task
from tests.tcsfeel.agent.fakes import AddingTrainer, make_task, task_body

TASK = make_task("t.1.c.fit")
NOTHING = (204, b"", {"Retry-After": "7"})
Answer = tuple[int, bytes, dict[str, str]]


def given(task: Task = TASK, *, body: bytes = b"", **headers: str) -> Answer:
    """The answer with a task."""
    body = body or task_body(task)
    said = {"Tcsfeel-Task": task.id, CONTENT_DIGEST: written_digest(digest_of([body]))}
    return 200, body, said | {name.replace("_", "-"): value for name, value in headers.items()}


class Plane:
    """The control plane of one client: `questions` and `deliveries` are its next answers.

    Those to deliveries have the ``Retry-After`` `later`.
    """

    def __init__(self, *questions: Answer, deliveries: tuple[int, ...] = (), later: str = "") -> None:
        self.questions = list(questions)
        self.deliveries = list(deliveries)
        self.later = {"Retry-After": later} if later else {}
        self.known: list[list[str]] = []
        self.results: list[httpx2.Request] = []
        self.sign: Callable[[httpx2.Request, Answer], Answer] = lambda _, answer: answer

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == "Bearer own"
        if request.method == "GET":
            assert request.url.path == "/fl/v1/clients/c/tasks/next"
            assert request.url.params["instance"] == "i"
            self.known.append(request.url.params.get_list("known"))
            answer = self.questions.pop(0) if self.questions else NOTHING
            status, body, headers = self.sign(request, answer) if answer[0] == HTTPStatus.OK else answer
            return httpx2.Response(status, content=body, headers=headers)
        request.read()
        self.results.append(request)
        status = self.deliveries.pop(0) if self.deliveries else 204
        return httpx2.Response(status, json={"detail": "said so"} if status >= 400 else None, headers=self.later)


def pulling(
    plane: Callable[[httpx2.Request], Any],
    trainer: AddingTrainer | None = None,
    *,
    signing: Signing | None = None,
    renewed: list[str] | None = None,
    fetching: Fetching | None = None,
) -> tuple[Puller, list[float]]:
    """An agent of a control plane behind a path prefix, and how long it has paused."""
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(plane), base_url="http://plane/fl")
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    async def renew() -> None:
        (renewed if renewed is not None else []).append("again")

    agent = Agent(trainer or AddingTrainer(), fetching=fetching)
    transport = AsyncTransport(http, Patience(attempts=1))
    puller = Puller("c", agent, transport, key="own", signing=signing, renew=renew, instance="i", sleep=sleep)
    return puller, pauses
