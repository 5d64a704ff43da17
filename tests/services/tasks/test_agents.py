"""What is sent to agents, and what each of their answers means."""

import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from app.clock import SystemClock
from app.services.tasks.agents import AgentCaller
from app.services.tasks.bodies import TaskBody
from app.services.tasks.replies import Reply
from app.services.tasks.signer import Signer
from app.settings import AgentSettings
from app.store.model_store import ModelStore, StoreUnavailable
from tcsfeel.agent import AgentHost, Signing
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import decode, pack
from tcsfeel.wire.sizes import ERROR_BYTES
from tcsfeel.wire.tasks import Task, read_result, task_metadata
from tests.services.asking import AGENT, ASK, FETCH, HELLO, failure, hand_over, initial_model, poll, spooled
from tests.services.fakes import SERVER_SEED, TOKENS, calling, endpoint
from tests.services.network import Network
from tests.tcsfeel.agent.fakes import AddingTrainer


def saying(status: int, content: bytes = b"", **headers: str) -> Callable[[httpx2.Request], httpx2.Response]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx2.Response(status, stream=httpx2.ByteStream(content), headers=given)


# What was sent


async def test_a_task_is_put_with_its_length_and_its_type(spool: ModelStore) -> None:
    async def agent(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, str(request.url)) == ("PUT", "http://agent/base/tasks/t.1.a.fit")
        assert request.headers["Content-Type"] == "application/vnd.safetensors"
        assert request.headers["Content-Length"] == "9"
        assert "Transfer-Encoding" not in request.headers
        assert request.headers["Authorization"] == "Bearer s3cret-token"
        assert request.headers["Accept-Encoding"] == "identity"
        assert await request.aread() == b"headblock"
        return httpx2.Response(202)

    async with calling(agent) as agents:
        assert await hand_over(agents, spool) == Reply("working")


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (lambda agents, _: agents.health(AGENT), "GET http://agent/base/healthz"),
        (lambda agents, spool: agents.initial_model(AGENT, spool), "GET http://agent/base/model"),
        (lambda agents, spool: agents.poll(AGENT, "t", 20.0, spool), "GET http://agent/base/tasks/t?wait=20"),
        (lambda agents, spool: agents.poll(AGENT, "t", 0.25, spool), "GET http://agent/base/tasks/t?wait=0.25"),
        (lambda agents, _: agents.forget(AGENT, "t"), "DELETE http://agent/base/tasks/t"),
    ],
)
async def test_other_calls_are_as_the_protocol_says(call: Any, sent: str, spool: ModelStore) -> None:
    seen: list[str] = []

    def agent(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == "Bearer s3cret-token"
        seen.append(f"{request.method} {request.url}")
        return httpx2.Response(200, stream=httpx2.ByteStream(b""))

    async with calling(agent) as agents:
        await call(agents, spool)
    assert seen == [sent]


async def test_no_authorization_is_sent_where_the_client_gave_no_token(spool: ModelStore) -> None:
    def agent(request: httpx2.Request) -> httpx2.Response:
        assert "Authorization" not in request.headers
        return httpx2.Response(202)

    async with calling(agent) as agents:
        await poll(agents, spool, endpoint())


async def test_cookies_are_not_kept(spool: ModelStore) -> None:
    def agent(request: httpx2.Request) -> httpx2.Response:
        assert "Cookie" not in request.headers
        return httpx2.Response(202, headers={"Set-Cookie": "track=me; Path=/; Max-Age=3600"})

    async with calling(agent) as agents:
        await poll(agents, spool)
        await poll(agents, spool)


# What was answered


@ASK
@pytest.mark.parametrize(
    ("status", "answer"),
    [(202, "working"), (404, "unknown"), (410, "cancelled"), (409, "busy"), (429, "busy")],
)
async def test_what_an_answer_means(ask: Any, status: int, answer: Any, spool: ModelStore, tmp_path: Path) -> None:
    async with calling(saying(status, b"ignored")) as agents:
        assert await ask(agents, spool) == Reply(answer)
    assert spooled(tmp_path) == []


@FETCH
async def test_a_result_goes_to_the_spool(fetch: Any, spool: ModelStore) -> None:
    async with calling(saying(200, b"hello", content_encoding="Identity")) as agents:
        result = await fetch(agents, spool)
    assert (result.answer, result.file) == ("result", HELLO)
    assert result.seconds >= 0
    assert bytes(spool.map(HELLO.sha256)) == b"hello"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5.0), ("0.5", 0.5), ("0", 0.0), ("-7", 0.0), ("3601", 3600.0), ("inf", 3600.0), ("nan", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("soon", None), ("", None),
    ],
)  # fmt: skip
async def test_how_long_a_busy_agent_wants_to_be_left_alone(
    header: str, seconds: float | None, spool: ModelStore
) -> None:
    async with calling(saying(429, retry_after=header)) as agents:
        assert await poll(agents, spool) == Reply("busy", retry_after=seconds)


@ASK
@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b'{"detail": "no data"}', "no data"),
        (b"", ""),
        (b"two\r\nlines\x00\x1b[31m\tand a tab", "two lines [31m and a tab"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        (b"x" * 5000, "x" * 299 + "…"),
        (b"your token is s3cret-token, s3cret-token!", "your token is <token>, <token>!"),
    ],
)
async def test_what_an_agent_says_of_its_trainers_exception(
    ask: Any, content: bytes, detail: str, spool: ModelStore
) -> None:
    async with calling(saying(500, content)) as agents:
        assert await ask(agents, spool) == Reply("raised", detail=detail)


@FETCH
@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 401, 403, 405, 413, 502, 503])
async def test_any_other_status_counts_against_the_client(fetch: Any, status: int, spool: ModelStore) -> None:
    async with calling(saying(status, b"Bearer s3cret-token is wrong", location="http://elsewhere/")) as agents:
        message = await failure(fetch(agents, spool))
    assert message.startswith("the agent answered ")
    assert str(status) in message
    assert "s3cret" not in message


@pytest.mark.parametrize("status", [202, 404, 410, 409, 429, 500])
async def test_an_initial_model_is_there_or_the_call_failed(status: int, spool: ModelStore) -> None:
    async with calling(saying(status)) as agents:
        assert await failure(initial_model(agents, spool)) == f"the agent answered GET /model with {status}"


async def test_of_a_long_error_only_the_start_is_read(spool: ModelStore) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1000
            yield b"x" * 1000

    async with calling(lambda _: httpx2.Response(500, content=endless())) as agents:
        assert (await poll(agents, spool)).detail == "x" * 299 + "…"
    assert read <= ERROR_BYTES + 1000


@FETCH
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x" * 50])
async def test_an_encoded_body_is_refused(fetch: Any, encoding: str, spool: ModelStore, tmp_path: Path) -> None:
    def agent(_: httpx2.Request) -> httpx2.Response:
        response = httpx2.Response(200, stream=httpx2.ByteStream(gzip.compress(b"hello")))
        response.headers["Content-Encoding"] = encoding
        return response

    async with calling(agent) as agents:
        message = await failure(fetch(agents, spool))
    assert message == f"the agent answered with Content-Encoding {encoding[:32]!r}, which is not accepted"
    assert spooled(tmp_path) == []


@ASK
@pytest.mark.parametrize("coding", ["zstd", "ZSTD", "identity", None])
async def test_a_body_in_the_coding_that_was_asked_for_is_stored_as_it_came(
    ask: Any, coding: str | None, spool: ModelStore
) -> None:
    def agent(request: httpx2.Request) -> httpx2.Response:
        assert request.headers.get_list("Accept-Encoding") == ["zstd"]
        given = {} if coding is None else {"Content-Encoding": coding}
        return httpx2.Response(200, stream=httpx2.ByteStream(b"hello"), headers=given)

    async with calling(agent) as agents:
        answer = await ask(agents, spool, accept="zstd")
    assert (answer.file, answer.coding) == (HELLO, (coding or "identity").lower())


@ASK
async def test_only_the_coding_that_was_asked_for_is_accepted(ask: Any, spool: ModelStore, tmp_path: Path) -> None:
    async with calling(saying(200, b"hello", content_encoding="gzip")) as agents:
        message = await failure(ask(agents, spool, accept="zstd"))
    assert message == "the agent answered with Content-Encoding 'gzip', which is not accepted"
    assert spooled(tmp_path) == []


@ASK
async def test_a_body_beyond_the_limit_of_a_task_is_refused(ask: Any, spool: ModelStore, tmp_path: Path) -> None:
    async with calling(saying(200, b"x" * 11), max_bytes=1000) as agents:
        assert await failure(ask(agents, spool, limit=10)) == "the agent sent a body of more than 10 bytes"
        assert spooled(tmp_path) == []
        assert (await ask(agents, spool, limit=11)).file.size == 11
    async with calling(saying(200, b"x" * 11), max_bytes=10) as agents:
        assert await failure(ask(agents, spool, limit=1000)) == "the agent sent a body of more than 10 bytes"


@FETCH
async def test_a_body_beyond_the_limit_is_refused(fetch: Any, spool: ModelStore, tmp_path: Path) -> None:
    async with calling(saying(200, bytes(11)), max_bytes=10) as agents:
        assert await failure(fetch(agents, spool)) == "the agent sent a body of more than 10 bytes"
    assert spooled(tmp_path) == []
    async with calling(saying(200, bytes(10)), max_bytes=10) as agents:
        assert (await fetch(agents, spool)).file.size == 10


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (202, False), (204, False), (302, False), (503, False)])
async def test_an_agent_is_healthy_if_it_says_ok(status: int, healthy: bool) -> None:
    async with calling(saying(status)) as agents:
        assert (await agents.health(AGENT)).alive == healthy


@FETCH
async def test_a_disk_that_is_full_does_not_count_against_the_client(fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way of the directory")
    async with calling(saying(200, b"hello")) as agents:
        with pytest.raises(StoreUnavailable):
            await fetch(agents, ModelStore(tmp_path / "spool"))


async def test_our_own_agent_speaks_the_protocol(spool: ModelStore) -> None:
    host = AgentHost()
    host.add("a", AddingTrainer(), token="s3cret-token")
    agent = endpoint(f"http://host{host.path('a')}", auth_token="s3cret-token")
    signer, transport = Signer([SERVER_SEED], SystemClock()), Network(httpx2.ASGITransport(host))
    agents = AgentCaller(AgentSettings(), max_bytes=10_000, tokens=TOKENS, transport=transport, signer=signer)
    task = Task(id="t.1.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0)
    body = TaskBody(*pack({"w": np.zeros(2, np.float32)}).payload(task_metadata(task)))

    assert (await agents.health(agent)).alive
    assert not (await agents.health(endpoint(f"{agent.url}/nowhere"))).alive
    model = await agents.initial_model(agent, spool)
    assert decode(spool.map(model.sha256))[0]["w"].tolist() == [1.0, 2.0]
    assert (await agents.poll(agent, task.id, 0.0, spool)).answer == "unknown"
    answer = await agents.hand_over(agent, task.id, body, spool)
    while answer.answer == "working":
        answer = await agents.poll(agent, task.id, 5.0, spool)
    assert answer.file is not None
    update, metadata = decode(spool.map(answer.file.sha256))
    assert update["w"].tolist() == [1.0, 1.0]
    assert read_result(metadata).num_examples == 2
    await agents.forget(agent, task.id)
    assert (await agents.poll(agent, task.id, 0.0, spool)).answer == "unknown"
    assert "the agent answered 401" in await failure(agents.poll(endpoint(agent.url or ""), task.id, 0.0, spool))
    await agents.close()
    host.close()


async def test_a_device_that_enrolled_before_the_secret_changed_is_reached(spool: ModelStore) -> None:
    device, new = Identity(b"d" * 32), b"n" * 32
    host = AgentHost()
    host.add("a", AddingTrainer(), signing=Signing(device, Identity(SERVER_SEED).public_key))
    agent = endpoint(f"http://host{host.path('a')}", public_key=device.public_key)
    task = Task(id="t.1.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0)
    body = TaskBody(*pack({"w": np.zeros(2, np.float32)}).payload(task_metadata(task)))

    def caller(*seeds: bytes) -> AgentCaller:
        signer, transport = Signer(seeds, SystemClock()), Network(httpx2.ASGITransport(host))
        return AgentCaller(AgentSettings(), max_bytes=10_000, tokens=TOKENS, transport=transport, signer=signer)

    assert not (await caller(new).health(agent)).alive, "the old secret is not there any more"
    agents = caller(new, SERVER_SEED)
    assert (await agents.hand_over(agent, task.id, body, spool)).answer in {"working", "result"}
    assert (await agents.health(agent)).alive
    host.close()
