"""An agent's application, called in the same process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.types import ASGIApp

from tests.tcsfeel.agent.fakes import make_task, task_body

TASK = "/tasks/t.1.c.fit"
BODY = task_body(make_task())


@asynccontextmanager
async def client(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://agent") as http, asyncio.timeout(30):
        yield http


def problem(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document.keys() - {"traceback", "retry"} == {"type", "title", "status", "detail"}
    assert document["status"] == status
    return str(document["detail"])
