"""Tensors that never change are sent with a task only if its agent does not have them.

Covers: app.services.tasks.dispatch, app.services.tasks.agents
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from app.metrics import Metrics
from app.services.tasks.answers import AgentFailed
from app.services.tasks.assignments import Frozen
from app.store.database import Database
from app.store.model_store import ModelStore
from tcsfeel.wire.codec import pack, unpack
from tests.services.bench import MODEL, Bench, dispatching
from tests.services.fakes import calling, endpoint, metrics

WHOLE = pack({"w": np.zeros(4, np.float32), "embedding": np.zeros(100, np.float32)})
ID = "f" * 64
OK = (200, b"result")


class Keeper:
    """An agent that answers whether it has the frozen tensors as written, and notes what each task brought."""

    def __init__(self, has: list[int | Exception | None], steps: list[int | tuple[int, bytes]]) -> None:
        self.has = has
        self.steps = steps
        self.asked: list[str] = []
        self.brought: list[set[str]] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.startswith("/frozen/"):
            self.asked.append(request.url.path)
            if isinstance(has := self.has.pop(0), Exception):
                raise has
            if has is None:
                await asyncio.Event().wait()
            return httpx2.Response(has or 0)
        if request.method == "PUT":
            self.brought.append(set(unpack(await request.aread())[0].layout))
        step = self.steps.pop(0)
        status, body = step if isinstance(step, tuple) else (step, b"")
        return httpx2.Response(status, stream=httpx2.ByteStream(body))


async def run(db: Database, spool: Path, keeper: Keeper, **settings: Any) -> Bench:
    counts: Metrics = metrics()
    calls = calling(keeper, max_bytes=2_000_000, **settings)
    async with dispatching(db, counts, spool, 200) as bench, calls as caller:
        bench.dispatcher._caller = caller
        bench.assignment = replace(bench.assignment, frozen=Frozen(ID, WHOLE))
        await bench.go()
        return bench


@pytest.mark.parametrize("status", [404, 200, 405, 500, 302])
async def test_an_agent_that_does_not_say_that_it_has_them_gets_them(db: Database, tmp_path: Path, status: int) -> None:
    keeper = Keeper([status], [OK])
    bench = await run(db, tmp_path, keeper)
    assert (keeper.asked, keeper.brought) == ([f"/frozen/{ID}"], [{"w", "embedding"}])
    assert bench.result() == b"result"
    assert bench.run.bytes_sent > len(WHOLE.block)


@pytest.mark.parametrize("has", [None, httpx2.RemoteProtocolError("closed"), httpx2.ReadTimeout("silent")])
async def test_an_agent_that_does_not_answer_the_question_gets_them(
    db: Database, tmp_path: Path, has: Exception | None
) -> None:
    keeper = Keeper([has], [OK])
    bench = await run(db, tmp_path, keeper, connect_seconds=0.01)
    assert keeper.brought == [{"w", "embedding"}]
    assert bench.result() == b"result"
    assert (bench.run.attempts, (await bench.breaker()).consecutive_failures) == (1, 0)


async def test_an_agent_that_has_them_gets_the_rest(db: Database, tmp_path: Path) -> None:
    keeper = Keeper([204], [202, OK])
    bench = await run(db, tmp_path, keeper)
    assert keeper.brought == [{"w"}]
    assert len(MODEL.block) < bench.run.bytes_sent < len(WHOLE.block)


async def test_an_agent_that_lost_them_gets_them_within_the_same_try(db: Database, tmp_path: Path) -> None:
    keeper = Keeper([204], [412, OK])
    bench = await run(db, tmp_path, keeper)
    assert keeper.brought == [{"w"}, {"w", "embedding"}]
    assert (bench.run.attempts, bench.outcome and bench.outcome.reason) == (1, None)
    assert (await bench.breaker()).consecutive_failures == 0


async def test_a_restarted_agent_is_asked_again(db: Database, tmp_path: Path) -> None:
    keeper = Keeper([204, 404], [202, 404, OK])
    bench = await run(db, tmp_path, keeper)
    assert keeper.brought == [{"w"}, {"w", "embedding"}]
    assert bench.outcome is not None
    assert bench.outcome.reason is None


async def test_an_agent_that_refuses_the_whole_task_so_fails(db: Database, tmp_path: Path) -> None:
    keeper = Keeper([204], [412, 412])
    bench = await run(db, tmp_path, keeper)
    assert bench.outcome is not None
    assert bench.outcome.reason == "the agent answered 412"
    assert len(keeper.brought) == 2


async def test_only_an_answer_without_content_says_that_it_has_them() -> None:
    for status in (200, 204, 404):
        async with calling(lambda _request, status=status: httpx2.Response(status)) as caller:
            assert await caller.has_frozen(endpoint(), ID) == (status == 204)


async def test_a_model_is_asked_for_without_local_tensors(tmp_path: Path) -> None:
    asked: list[httpx2.URL] = []

    async def agent(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url)
        return httpx2.Response(500, stream=httpx2.ByteStream(b""))

    async with calling(agent, max_bytes=1000) as caller:
        for local in ((), ("bn*", "a b&c")):
            with pytest.raises(AgentFailed, match="with 500"):
                await caller.initial_model(endpoint(), ModelStore(tmp_path), local=local)
    assert [url.raw_path for url in asked] == [b"/model", b"/model?local=bn%2A&local=a%20b%26c"]
    assert asked[1].params.get_list("local") == ["bn*", "a b&c"]
