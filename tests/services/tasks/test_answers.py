"""Answers of agents: which are what the agent sent, and which were changed or came from somebody else.

Covers: app.services.tasks.agents
"""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from app.domain.clients import Endpoint, Health
from app.services.tasks.agents import AgentCaller
from app.services.tasks.answers import AgentFailed, Answer, health_of
from app.services.tasks.bodies import TaskBody
from app.store.model_store import ModelStore
from app.turns import Turns
from tcsfeel.agent import Agent, Signing
from tcsfeel.identity import Identity, verify
from tcsfeel.wire.codec import decode, pack
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.signatures import Signed
from tcsfeel.wire.tasks import Task, task_metadata
from tests.services.asking import FETCH, failure, spooled
from tests.services.fakes import SERVER_SEED, calling, endpoint
from tests.services.network import answered
from tests.tcsfeel.agent.fakes import AddingTrainer

DEVICE, STRANGER = Identity(b"d" * 32), Identity(b"x" * 32)
SERVER_KEY = Identity(SERVER_SEED).public_key
AGENT = endpoint("http://agent", public_key=DEVICE.public_key)
UNSIGNED = "unsigned answer: the client has a public key, so its results have to be signed with it"
TASK = Task(id="t.1.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0)
BODY = TaskBody(*pack({"w": np.zeros(2, np.float32)}).payload(task_metadata(TASK)))

Change = Callable[[httpx2.Headers, bytes], bytes]


class Between:
    """The network between the control plane and an agent; it may change requests and answers, or remember them."""

    def __init__(self, agent: Agent, change: Change | None = None) -> None:
        self._transport = httpx2.ASGITransport(agent)
        self._change = change
        self.requests: list[httpx2.Request] = []
        self.answers: list[tuple[httpx2.Headers, bytes]] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.requests.append(request)
        given = await self._transport.handle_async_request(request)
        headers, content = given.headers, await given.aread()
        if self._change is not None:
            content = self._change(headers, content)
        self.answers.append((headers, content))
        return httpx2.Response(given.status_code, headers=headers, stream=httpx2.ByteStream(content), request=request)


def agent_of(identity: Identity = DEVICE, server_key: str = SERVER_KEY) -> Agent:
    return Agent(AddingTrainer(), signing=Signing(identity, server_key))


def without(name: str) -> Change:
    """Remove a header."""

    def change(headers: httpx2.Headers, content: bytes) -> bytes:
        del headers[name]
        return content

    return change


def with_another_digest(headers: httpx2.Headers, content: bytes) -> bytes:
    headers["Content-Digest"] = written_digest(digest_of([b"another"]))
    return content


async def fit(agents: AgentCaller, spool: ModelStore, agent: Endpoint = AGENT) -> Any:
    return await agents.hand_over(agent, TASK.id, BODY, spool)


async def poll(agents: AgentCaller, spool: ModelStore, agent: Endpoint = AGENT) -> Any:
    return await agents.poll(agent, TASK.id, 20.0, spool)


async def test_a_signed_result_comes_with_the_proof_of_who_sent_it(spool: ModelStore) -> None:
    network = Between(agent_of())
    async with calling(network, max_bytes=10_000) as agents:
        handed_over = await fit(agents, spool)
        polled = await poll(agents, spool)
        assert (await agents.initial_model(AGENT, spool)).size > 0
        assert await agents.health(AGENT) == Health(alive=True)
        assert not await agents.has_frozen(AGENT, "f")
        await agents.forget(AGENT, TASK.id)
        assert (await poll(agents, spool)).answer == "unknown"
    for reply, method in ((handed_over, "PUT"), (polled, "GET")):
        evidence = reply.evidence
        assert decode(spool.map(reply.file.sha256))[0]["w"].tolist() == [1.0, 1.0]
        assert f'"content-digest": {written_digest(bytes.fromhex(reply.file.sha256))}' in evidence.answer
        assert f'"@path": /tasks/{TASK.id}\n' in evidence.call
        assert evidence.call.startswith(f'"@method": {method}\n')
        signature = base64.b64decode(evidence.signature.strip(":"))
        assert verify(DEVICE.public_key, signature, evidence.answer.encode())
        of_call = evidence.answer.split('"signature";req;key="tcsfeel": :')[1].split(":\n")[0]
        assert verify(SERVER_KEY, base64.b64decode(of_call), evidence.call.encode())
    assert all("Signature" in request.headers for request in network.requests)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("Signature"), UNSIGNED),
        (without("Signature-Input"), UNSIGNED),
        (without("Content-Digest"), UNSIGNED),
        (with_another_digest, "wrong signature: its signature does not fit"),
        (
            lambda _headers, content: content[:-1] + b"x",
            "its answer was corrupted on the way: the body does not fit its Content-Digest",
        ),
    ],
)
async def test_a_result_that_was_changed_on_the_way_is_a_try_that_failed(
    spool: ModelStore, tmp_path: Path, change: Change, reason: str
) -> None:
    async with calling(Between(agent_of(), change), max_bytes=10_000) as agents:
        for call in (fit, poll):
            with pytest.raises(AgentFailed) as caught:
                await call(agents, spool)
            assert (str(caught.value), caught.value.passing) == (reason, True)
        assert await failure(agents.initial_model(AGENT, spool)) == reason
    assert spooled(tmp_path) == []


@FETCH
async def test_a_corrupted_body_of_an_agent_without_a_key_is_found_too(
    fetch: Any, spool: ModelStore, tmp_path: Path
) -> None:
    def agent(_: httpx2.Request) -> httpx2.Response:
        headers = {"Content-Digest": written_digest(digest_of([b"hello"]))}
        return httpx2.Response(200, stream=httpx2.ByteStream(b"hellO"), headers=headers)

    async with calling(agent) as agents:
        with pytest.raises(AgentFailed) as caught:
            await fetch(agents, spool)
    assert str(caught.value) == "its answer was corrupted on the way: the body does not fit its Content-Digest"
    assert (caught.value.passing, caught.value.kind) == (True, "unreachable")
    assert spooled(tmp_path) == []


async def test_an_answer_to_an_earlier_call_is_not_accepted(spool: ModelStore) -> None:
    network = Between(agent_of())
    async with calling(network, max_bytes=10_000) as agents:
        await fit(agents, spool)
        headers, content = network.answers[-1]

    def replay(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(content))

    async with calling(replay, max_bytes=10_000) as agents:
        assert await failure(fit(agents, spool)) == "wrong signature: its signature does not fit"
        assert await failure(poll(agents, spool)) == "wrong signature: its signature does not fit"


async def test_another_device_cannot_answer_for_the_client(spool: ModelStore) -> None:
    async with calling(Between(agent_of(STRANGER)), max_bytes=10_000) as agents:
        assert "401: this agent takes only calls that its control plane has signed: it is for another device" in (
            await failure(fit(agents, spool))
        )
        health = await agents.health(AGENT)
        assert not health.alive
        assert str(health.doubt).endswith("it is for another device, which has another key")
    async with calling(Between(Agent(AddingTrainer())), max_bytes=10_000) as agents:
        assert await failure(fit(agents, spool)) == UNSIGNED
        assert await agents.health(AGENT) == Health(alive=False, doubt=UNSIGNED)
        assert not (await agents.health(AGENT)).alive


async def test_an_agent_of_another_control_plane_says_why_it_refuses(spool: ModelStore) -> None:
    async with calling(Between(agent_of(server_key=STRANGER.public_key)), max_bytes=10_000) as agents:
        assert f"it is signed with the key '{SERVER_KEY}'" in await failure(poll(agents, spool))


async def test_silence_raises_no_doubt() -> None:
    def silent(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("down")

    async with calling(silent) as agents:
        assert await agents.health(AGENT) == Health(alive=False, silence="the agent could not be reached")
    async with calling(lambda _: httpx2.Response(503, stream=httpx2.ByteStream(b""))) as agents:
        assert await agents.health(AGENT) == Health(alive=False, silence="the agent answered 503")


@pytest.mark.parametrize(
    ("status", "key", "found"),
    [
        (200, None, Health(alive=True)),
        (200, DEVICE.public_key, Health(alive=False, doubt=UNSIGNED)),
        (404, None, Health(alive=False, silence="the agent answered 404")),
        (404, DEVICE.public_key, Health(alive=False, doubt="the agent answered 404: what it says")),
        (500, DEVICE.public_key, Health(alive=False, silence="the agent answered 500: what it says")),
    ],
)
async def test_an_answer_without_a_signature_is_a_doubt_about_an_agent_with_a_key(
    status: int, key: str | None, found: Health
) -> None:
    call = None if key is None else Signed("base", bytes(64), 0)
    response = answered(status, b"what it says")
    assert await health_of(Answer(response, endpoint(public_key=key), call, Turns(), 5.0)) == found


async def test_a_task_that_was_corrupted_on_the_way_is_worth_another_try(spool: ModelStore) -> None:
    def agent(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(400, stream=httpx2.ByteStream(b'{"detail": "corrupted", "retry": true}'))

    async with calling(agent) as agents:
        with pytest.raises(AgentFailed) as caught:
            await fit(agents, spool)
    assert (str(caught.value), caught.value.passing) == ("the agent answered 400: corrupted", True)


@pytest.mark.parametrize("agent", [endpoint(), AGENT])
async def test_every_task_names_the_bytes_of_its_body(agent: Endpoint, spool: ModelStore) -> None:
    async def taking(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Content-Digest"] == written_digest(digest_of([await request.aread()]))
        return httpx2.Response(202)

    async with calling(taking) as agents:
        assert (await fit(agents, spool, agent)).answer == "working"


async def test_an_answer_reads_no_more_of_an_error_than_is_shown() -> None:
    answer = Answer(answered(500, b"x" * 100_000), endpoint(), None, Turns(), 5.0)
    assert answer.verify() is None
    assert len(await answer.beginning()) == 16_000
    assert (await Answer(answered(500, b"no data"), endpoint(), None, Turns(), 5.0).complaint()).text == "no data"


def test_a_body_is_compared_with_the_digest_that_came_with_it() -> None:
    call = Signed("base", bytes(64), 0)
    for value, fits in ((written_digest(digest_of([b"a"])), True), ("", True), (written_digest(bytes(32)), False)):
        answer = Answer(answered(200, headers={"Content-Digest": value}), AGENT, call, Turns(), 5.0)
        if fits:
            answer.check_body(hashlib.sha256(b"a").hexdigest())
        else:
            with pytest.raises(AgentFailed):
                answer.check_body(hashlib.sha256(b"a").hexdigest())
