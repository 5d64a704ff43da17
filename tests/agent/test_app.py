"""The agent protocol over HTTP, as the control plane sees it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from app.agent import Agent, FitResult, Parameters
from app.wire.codec import MEDIA_TYPE, decode, encode
from app.wire.compression import decompressed
from app.wire.tasks import read_result
from tests.agent.fakes import (
    PARAMETERS,
    AddingTrainer,
    FakeClock,
    GatedTrainer,
    RaisingTrainer,
    eventually,
    make_task,
    task_body,
)

TASK = "/tasks/t.1.c.fit"
BODY = task_body(make_task())


@asynccontextmanager
async def client(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as http, asyncio.timeout(30):
        yield http


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document.keys() == {"type", "title", "status", "detail"}
    assert document["status"] == status
    return str(document["detail"])


@pytest.fixture
def nothing_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agent.app.QUICK_SECONDS", 0.0)


@pytest.fixture
def all_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agent.app.QUICK_SECONDS", 60.0)


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
    assert b"".join(decompressed(memoryview(coded.content), 2_000_000)) == plain.content
    assert agent.table.trained == {"t.1.c.fit": 1}


async def test_a_task_that_is_not_quick_is_accepted_and_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agent.app.QUICK_SECONDS", 0.001)
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


async def test_a_result_is_compressed_for_who_asks_for_it() -> None:
    parameters: Parameters = {"w": np.zeros(300_000, np.float32)}  # more than is compressed at a time
    async with client(Agent(AddingTrainer())) as http:
        await http.put(TASK, content=task_body(make_task(), parameters))
        plain = await http.get(TASK, params={"wait": 60}, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        zstd = {"Accept-Encoding": "zstd"}
        for answer in (
            await http.get(TASK, headers=zstd),
            await http.put(TASK, content=BODY, headers=zstd),
            await http.get(TASK, headers=zstd),
        ):
            assert (answer.headers["content-type"], answer.headers["content-encoding"]) == (MEDIA_TYPE, "zstd")
            assert "content-length" not in answer.headers
            assert len(answer.content) < 10_000
            assert b"".join(decompressed(memoryview(answer.content), 2_000_000)) == plain.content
        assert (await http.get("/tasks/t.2.c.fit", headers=zstd)).json()["status"] == 404


async def test_a_result_outlives_everything_but_deletion_and_time() -> None:
    clock = FakeClock()
    async with client(Agent(AddingTrainer(), clock=clock)) as http:
        await http.put(TASK, content=BODY)
        result = await http.get(TASK, params={"wait": 60})
        clock.now += 600 + 3599

        assert (await http.get(TASK)).content == result.content
        clock.now += 1
        problem(await http.get(TASK), 404)


async def test_a_trainer_that_raises_is_a_500_without_its_traceback() -> None:
    async with client(Agent(RaisingTrainer(ValueError("only 3 of 10 labels")))) as http:
        await http.put(TASK, content=BODY)

        detail = problem(await http.get(TASK, params={"wait": 60}), 500)

        assert detail == "ValueError: only 3 of 10 labels"
        assert problem(await http.put(TASK, content=BODY), 500) == detail
        assert problem(await http.get("/model"), 500) == detail


async def test_a_trainer_that_writes_into_its_parameters_is_told_so() -> None:
    def train(parameters: Any, _task: object) -> FitResult:
        parameters["w"] += 1
        return FitResult(parameters, 1, 0, 0)

    trainer = GatedTrainer(train)
    trainer.gate.set()
    async with client(Agent(trainer)) as http:
        await http.put(TASK, content=BODY)
        assert "read-only" in problem(await http.get(TASK, params={"wait": 60}), 500)


async def test_health_and_initial_parameters() -> None:
    async with client(Agent(AddingTrainer())) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        model = await http.get("/model")

    assert model.headers["content-type"] == MEDIA_TYPE
    np.testing.assert_array_equal(decode(model.content)[0]["w"], PARAMETERS["w"])


async def test_a_large_result_goes_out_in_pieces_and_arrives_whole() -> None:
    large: Parameters = {"w": np.arange(300_001, dtype=np.float32), "b": np.ones(3, np.float64)}
    async with client(Agent(AddingTrainer())) as http:
        await http.put(TASK, content=task_body(make_task(), large))
        result = await http.get(TASK, params={"wait": 60})

    assert int(result.headers["content-length"]) == len(result.content)
    parameters, _ = decode(result.content)
    np.testing.assert_array_equal(parameters["w"], large["w"] + 1)
    np.testing.assert_array_equal(parameters["b"], large["b"] + 1)


BROKEN_BODIES = {
    "nothing": (b"", "too few for a header"),
    "noise": (b"\xff" * 100, "the header claims"),
    "no task": (encode(PARAMETERS), "no 'task'"),
    "a task that is no JSON": (encode(PARAMETERS, {"task": "{"}), "Invalid JSON"),
    "half a task": (encode(PARAMETERS, {"task": "{}"}), "task.id: Field required"),
    "another task": (task_body(make_task("t.2.c.fit")), "task.id is 't.2.c.fit', the path says 't.1.c.fit'"),
    "a cut body": (BODY[:-1], "the tensors end at 8, the block at 7"),
}


@pytest.mark.parametrize(("body", "reason"), BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())
async def test_a_broken_body_is_refused_and_says_what_was_wrong(body: bytes, reason: str) -> None:
    agent = Agent(AddingTrainer())
    async with client(agent) as http:
        assert reason in problem(await http.put(TASK, content=body), 422)
        problem(await http.get(TASK), 404)

    assert not agent.table.trained


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "1s", "", "1,5"])
async def test_a_wait_that_is_no_duration_is_refused(wait: str) -> None:
    async with client(Agent(AddingTrainer())) as http:
        assert "wait must be seconds" in problem(await http.get(TASK, params={"wait": wait}), 422)


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


async def test_a_body_over_the_limit_is_refused_before_and_while_it_is_read() -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 10

    agent = Agent(AddingTrainer(), max_body_bytes=len(BODY))
    async with client(agent) as http:
        assert str(len(BODY)) in problem(await http.put(TASK, content=BODY + b"x"), 413)
        assert str(len(BODY)) in problem(await http.put(TASK, content=chunks()), 413)
        assert sent == len(BODY) // 10 + 1
        assert (await http.put(TASK, content=BODY)).status_code in {200, 202}


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, 'Bearer realm="agent"'),
        ("", 'Bearer realm="agent"'),
        ("Bearer", 'Bearer realm="agent", error="invalid_token"'),
        ("Bearer wrong", 'Bearer realm="agent", error="invalid_token"'),
        ("Bearer secre", 'Bearer realm="agent", error="invalid_token"'),
        ("Bearer secrets", 'Bearer realm="agent", error="invalid_token"'),
        ("Basic secret", 'Bearer realm="agent", error="invalid_token"'),
        ("secret", 'Bearer realm="agent", error="invalid_token"'),
        ("Bearer \xff", 'Bearer realm="agent", error="invalid_token"'),
    ],
)
async def test_without_the_token_nothing_is_answered_and_nothing_trained(header: str | None, challenge: str) -> None:
    agent = Agent(AddingTrainer(), token="secret")
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    async with client(agent) as http:
        for method, path in [("GET", "/healthz"), ("GET", "/model"), ("PUT", TASK), ("GET", TASK), ("DELETE", TASK)]:
            answer = await http.request(method, path, headers=headers, content=BODY)  # type: ignore[arg-type]  # bytes are fine
            problem(answer, 401)
            assert answer.headers["www-authenticate"] == challenge

    assert len(agent.table) == 0


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_with_the_token_everything_is_answered(scheme: str) -> None:
    async with client(Agent(AddingTrainer(), token="secret")) as http:
        http.headers["Authorization"] = f"{scheme} secret"
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.put(TASK, content=BODY)).status_code in {200, 202}


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/healthz", 405, "GET"),
        ("DELETE", "/model", 405, "GET"),
        ("POST", TASK, 405, "GET, PUT, DELETE"),
        ("GET", "/", 404, None),
        ("GET", "/tasks", 404, None),
        ("GET", "/tasks/", 404, None),
        ("GET", "/tasks/a/b", 404, None),
        ("GET", "/healthz/", 404, None),
        ("GET", "/metrics", 404, None),
    ],
)
async def test_what_the_protocol_does_not_know_is_refused(
    method: str, path: str, status: int, allow: str | None
) -> None:
    async with client(Agent(AddingTrainer())) as http:
        answer = await http.request(method, path)

    problem(answer, status)
    assert answer.headers.get("allow") == allow


async def test_a_caller_that_hangs_up_while_sending_leaves_no_task() -> None:
    agent = Agent(AddingTrainer())
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": BODY[:10], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await agent({"type": "http", "method": "PUT", "path": TASK, "headers": [], "query_string": b""}, receive, send)

    assert sent == []
    assert len(agent.table) == 0


async def test_an_agent_can_be_mounted_below_a_prefix_of_another_app() -> None:
    async with client(Starlette(routes=[Mount("/edge", Agent(AddingTrainer()))])) as http:
        assert (await http.get("/edge/healthz")).status_code == 200
        problem(await http.get("/edge/nothing"), 404)
