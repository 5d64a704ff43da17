"""The agent protocol over HTTP, as the control plane sees it: tasks handed over, awaited, deleted."""

import asyncio

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tcsfeel.agent import Agent
from tcsfeel.wire.codec import MEDIA_TYPE, decode
from tcsfeel.wire.tasks import read_result
from tests.clocks import FakeClock
from tests.tcsfeel.agent.calling import BODY, TASK, client, problem
from tests.tcsfeel.agent.fakes import AddingTrainer, GatedTrainer, eventually


@pytest.fixture
def nothing_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsfeel.agent.app.QUICK_SECONDS", 0.0)


@pytest.fixture
def all_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsfeel.agent.app.QUICK_SECONDS", 60.0)


@pytest.mark.usefixtures("nothing_is_quick")
async def test_a_task_is_accepted_awaited_and_deleted() -> None:
    trainer = GatedTrainer()
    async with client(Agent(trainer)) as http:
        accepted = await http.put(TASK, content=BODY)
        assert accepted.status_code == 202
        assert (await http.get(TASK)).status_code == 202

        waiting = asyncio.create_task(http.get(TASK, params={"wait": 60}))
        await eventually(trainer.started.is_set)
        trainer.gate.set()
        result = await waiting

        assert result.status_code == 200
        assert result.headers["content-type"] == MEDIA_TYPE
        parameters, metadata = decode(result.content)
        np.testing.assert_array_equal(parameters["w"], [2.0, 3.0])
        assert read_result(metadata).accuracy == 0.75

        assert (await http.put(TASK, content=BODY)).content == result.content
        assert (await http.get(TASK)).content == result.content
        deleted = await http.delete(TASK)
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert "t.1.c.fit" in problem(await http.get(TASK), 404)
        assert (await http.delete(TASK)).status_code == 204


@pytest.mark.usefixtures("all_is_quick")
async def test_a_quick_task_is_answered_with_its_result_as_often_as_it_is_handed_over() -> None:
    trainer = GatedTrainer()
    agent = Agent(trainer)
    async with client(agent) as http:
        first = asyncio.create_task(http.put(TASK, content=BODY))
        await eventually(trainer.started.is_set)
        again = asyncio.create_task(http.put(TASK, content=BODY, headers={"Accept-Encoding": "zstd"}))
        await asyncio.sleep(0.001)
        assert not first.done()
        assert not again.done()
        trainer.gate.set()
        plain, coded = await first, await again

    assert (plain.status_code, coded.status_code) == (200, 200)
    assert coded.headers["content-encoding"] == "zstd"
    assert coded.content == plain.content  # which httpx2 has decompressed
    assert agent.table.trained == {"t.1.c.fit": 1}


async def test_a_task_that_is_not_quick_is_accepted_and_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsfeel.agent.app.QUICK_SECONDS", 0.001)
    trainer = GatedTrainer()
    agent = Agent(trainer)
    async with client(agent) as http:
        assert (await http.put(TASK, content=BODY)).status_code == 202
        assert (await http.put(TASK, content=BODY)).status_code == 202
        trainer.gate.set()
        assert (await http.get(TASK, params={"wait": 60})).status_code == 200

    assert agent.table.trained == {"t.1.c.fit": 1}


@pytest.mark.usefixtures("all_is_quick")
async def test_a_task_that_is_deleted_while_its_caller_waits_for_a_quick_result_is_gone() -> None:
    trainer = GatedTrainer()
    agent = Agent(trainer)
    async with client(agent) as http:
        handed = asyncio.create_task(http.put(TASK, content=BODY))
        await eventually(trainer.started.is_set)
        assert (await http.delete(TASK)).status_code == 204
        assert "cancelled" in problem(await handed, 410)
        trainer.gate.set()
        await eventually(lambda: len(agent.table) == 0)


@pytest.mark.usefixtures("all_is_quick")
async def test_a_caller_that_hangs_up_while_it_waits_finds_the_result_later() -> None:
    trainer = GatedTrainer()
    agent = Agent(trainer)
    async with client(agent) as http:
        handed = asyncio.create_task(http.put(TASK, content=BODY))
        await eventually(trainer.started.is_set)
        handed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handed
        trainer.gate.set()
        assert (await http.get(TASK, params={"wait": 60})).status_code == 200

    assert agent.table.trained == {"t.1.c.fit": 1}


async def test_many_hands_over_the_same_task_and_it_trains_once() -> None:
    agent = Agent(AddingTrainer())
    async with client(agent) as http:
        answers = await asyncio.gather(*(http.put(TASK, content=BODY) for _ in range(20)))
        assert {answer.status_code for answer in answers} <= {200, 202}
        results = await asyncio.gather(*(http.get(TASK, params={"wait": 60}) for _ in range(20)))

    assert {result.status_code for result in results} == {200}
    assert len({result.content for result in results}) == 1
    assert agent.table.trained == {"t.1.c.fit": 1}


@pytest.mark.usefixtures("nothing_is_quick")
async def test_a_deleted_running_task_is_gone_and_then_unknown() -> None:
    trainer = GatedTrainer()
    agent = Agent(trainer)
    async with client(agent) as http:
        await http.put(TASK, content=BODY)
        await eventually(trainer.started.is_set)
        waiting = asyncio.create_task(http.get(TASK, params={"wait": 60}))
        await asyncio.sleep(0.001)

        assert (await http.delete(TASK)).status_code == 204
        assert "cancelled" in problem(await waiting, 410)
        assert "cancelled" in problem(await http.get(TASK), 410)
        trainer.gate.set()
        await eventually(lambda: len(agent.table) == 0)
        problem(await http.get(TASK), 404)


async def test_a_result_outlives_everything_but_deletion_and_time() -> None:
    clock = FakeClock()
    async with client(Agent(AddingTrainer(), clock=clock.now)) as http:
        await http.put(TASK, content=BODY)
        result = await http.get(TASK, params={"wait": 60})
        clock.advance(600 + 3599)

        assert (await http.get(TASK)).content == result.content
        clock.advance(1)
        problem(await http.get(TASK), 404)


async def test_a_wait_is_cut_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(AddingTrainer())
    asked: list[float] = []

    async def wait(_task_id: str, seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(agent.table, "wait", wait)
    async with client(agent) as http:
        for seconds in ("", "?wait=0.5", "?wait=60", "?wait=1e9"):
            await http.get(TASK + seconds)

    assert asked == [0, 0.5, 60, 60]


async def test_an_agent_can_be_mounted_below_a_prefix_of_another_app() -> None:
    async with client(Starlette(routes=[Mount("/edge", Agent(AddingTrainer()))])) as http:
        assert (await http.get("/edge/healthz")).status_code == 200
        problem(await http.get("/edge/nothing"), 404)
