"""Requests that an agent refuses: it trains nothing for them, and says what was wrong."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tcsfeel.agent import Agent
from tcsfeel.wire.codec import encode
from tests.tcsfeel.agent.calling import BODY, TASK, client, problem
from tests.tcsfeel.agent.fakes import PARAMETERS, AddingTrainer, make_task, task_body

BROKEN_BODIES = {
    "nothing": (b"", "too few for a header"),
    "noise": (b"\xff" * 100, "the header claims"),
    "no task": (encode(PARAMETERS), "no 'task'"),
    "a task that is no JSON": (encode(PARAMETERS, {"task": "{"}), "task is not JSON"),
    "half a task": (encode(PARAMETERS, {"task": "{}"}), "task.id is required"),
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
        ("POST", TASK, 405, "GET, HEAD, PUT, PATCH, DELETE"),
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
