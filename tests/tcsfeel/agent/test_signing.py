"""An agent with an identity: which calls it takes, and what its answers prove."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import httpx2
import pytest

from tcsfeel.agent import Agent, AgentHost, Signing
from tcsfeel.agent.signing import path_of
from tcsfeel.identity import Identity
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.signatures import (
    Components,
    Signed,
    WrongSignature,
    answer_components,
    call_components,
    check_answer,
    sign_call,
)
from tests.clocks import FakeClock
from tests.tcsfeel.agent.calling import BODY, TASK, client, problem
from tests.tcsfeel.agent.fakes import AddingTrainer, RaisingTrainer

DEVICE, SERVER, STRANGER = Identity(b"d" * 32), Identity(b"s" * 32), Identity(b"x" * 32)
DIGEST = written_digest(digest_of([BODY]))
NONCES = (f"nonce-{number}" for number in count())


def agent_with(trainer: Any = None, clock: FakeClock | None = None, **options: Any) -> Agent:
    signing = Signing(DEVICE, SERVER.public_key, clock=(clock or FakeClock()).now)
    return Agent(trainer or AddingTrainer(), signing=signing, **options)


def signed(components: Components, **changes: Any) -> tuple[Signed, dict[str, str]]:
    given: dict[str, Any] = {"identity": SERVER, "now": FakeClock().now(), "nonce": next(NONCES)}
    given |= changes
    call, headers = sign_call(given.pop("identity"), components, **given)
    return call, headers | {"Accept-Encoding": "identity", "Tcsfeel-Agent": components['"tcsfeel-agent"']}


async def call(
    http: httpx2.AsyncClient, method: str, target: str, body: bytes = b"", sent: bytes | None = None, **changes: Any
) -> tuple[Signed, httpx2.Response]:
    """Call with a signature of `body`, and send what was `sent` in its place."""
    digest = written_digest(digest_of([body])) if body else ""
    made, headers = signed(call_components(method, target, DEVICE.public_key, digest), **changes)
    headers |= {"Content-Digest": digest} if body else {}
    return made, await http.request(method, target, content=body if sent is None else sent, headers=headers)


def fits(answer: httpx2.Response, to: Signed) -> bool:
    components = answer_components(answer.status_code, answer.headers["Content-Digest"], to)
    headers: Mapping[str, str] = {name: answer.headers[name] for name in ("Signature", "Signature-Input")}
    try:
        check_answer(headers, components, key=DEVICE.public_key)
    except WrongSignature:
        return False
    return answer.headers["Content-Digest"] == written_digest(digest_of([answer.content]))


async def test_results_are_signed_for_the_call_that_asked_for_them() -> None:
    async with client(agent_with()) as http:
        first, put = await call(http, "PUT", TASK, BODY)
        assert put.status_code == 200
        assert fits(put, first)
        again, got = await call(http, "GET", f"{TASK}?wait=20")
        assert got.content == put.content
        assert fits(got, again)
        assert not fits(got, first)
        for path in ("/healthz", "/model", "/model?local=b%2A"):
            made, answer = await call(http, "GET", path)
            assert answer.status_code == 200
            assert fits(answer, made)


async def test_other_answers_are_not_signed() -> None:
    async with client(agent_with(RaisingTrainer(OSError("no data")))) as http:
        for method, path, body, status in (
            ("PUT", TASK, BODY, 500),
            ("GET", "/tasks/t.2.c.fit", b"", 404),
            ("DELETE", TASK, b"", 204),
        ):
            _, answer = await call(http, method, path, body)
            assert answer.status_code == status
            assert "Signature" not in answer.headers


@pytest.mark.parametrize("path", ["/healthz", "/model", TASK, "/frozen/abc", "/nowhere"])
async def test_a_call_that_is_not_signed_gets_nothing(path: str) -> None:
    agent = agent_with()
    async with client(agent) as http:
        answer = await http.get(path)
        assert problem(answer, 401) == "this agent takes only calls that its control plane has signed: it is not signed"
        assert answer.headers["WWW-Authenticate"] == f'Signature realm="agent", keyid="{SERVER.public_key}"'
        problem(await http.put(TASK, content=BODY), 401)
        problem(await http.delete(TASK), 401)
    assert agent.table.trained == {}


async def test_a_call_that_is_signed_for_something_else_gets_nothing() -> None:
    agent = agent_with()
    async with client(agent) as http:
        assert "signed with the key" in problem((await call(http, "PUT", TASK, BODY, identity=STRANGER))[1], 401)
        corrupted = await call(http, "PUT", TASK, BODY, BODY[:-1] + b"x")
        assert problem(corrupted[1], 400) == "the body does not fit its Content-Digest: it was corrupted on the way"
        _, headers = signed(call_components("PUT", TASK, DEVICE.public_key, "md5=:AA==:"))
        answer = await http.put(TASK, content=BODY, headers=headers | {"Content-Digest": "md5=:AA==:"})
        assert problem(answer, 401).endswith("it has no Content-Digest with sha-256")
        _, headers = signed(call_components("DELETE", TASK, DEVICE.public_key))
        assert "its signature does not fit" in problem(await http.get(TASK, headers=headers), 401)
        _, headers = signed(call_components("GET", TASK, STRANGER.public_key))
        refused = await http.get(TASK, headers=headers)
        assert problem(refused, 401).endswith("it is for another device, which has another key")
    assert agent.table.trained == {}


async def test_a_call_is_taken_once_and_within_a_minute() -> None:
    clock = FakeClock()
    async with client(agent_with(clock=clock)) as http:
        _, headers = signed(call_components("GET", "/healthz", DEVICE.public_key))
        assert (await http.get("/healthz", headers=headers)).status_code == 200
        again = await http.get("/healthz", headers=headers)
        assert problem(again, 401).endswith("this call was made before")
        assert again.json()["retry"] is True
        clock.advance(59)
        assert problem(await http.get("/healthz", headers=headers), 401).endswith("this call was made before")
        clock.advance(2)
        late = await http.get("/healthz", headers=headers)
        assert problem(late, 401).endswith("if they always do, set the clock of the agent")
        assert "retry" not in late.json()


async def test_nonces_are_forgotten_when_their_calls_are_too_old() -> None:
    clock = FakeClock()
    signing = Signing(DEVICE, SERVER.public_key, clock=clock.now)
    async with client(Agent(AddingTrainer(), signing=signing)) as http:
        for _ in range(5):
            await call(http, "GET", "/healthz", now=clock.now())
        assert len(signing._accepted) == 5
        clock.advance(61)
        await call(http, "GET", "/healthz", now=clock.now())
        assert len(signing._accepted) == 1


async def test_the_token_is_needed_as_well() -> None:
    async with client(agent_with(token="s3cret")) as http:
        assert problem((await call(http, "GET", "/healthz"))[1], 401) == "a bearer token is needed"
        http.headers["Authorization"] = "Bearer s3cret"
        made, answer = await call(http, "GET", "/healthz")
        assert fits(answer, made)


async def test_the_path_is_that_of_the_url_that_was_registered() -> None:
    host = AgentHost()
    agent = host.add("c", AddingTrainer(), signing=Signing(DEVICE, SERVER.public_key, clock=FakeClock().now))
    async with client(host) as http:
        made, answer = await call(http, "GET", f"{host.path('c')}/healthz")
        assert fits(answer, made)
        agent.public_path = path_of("https://gateway.example/one%20two/c/?x#y")
        made, headers = signed(call_components("GET", "/one%20two/c/healthz", DEVICE.public_key))
        answer = await http.get("/agents/c/healthz", headers=headers)  # as a gateway would send it on
        assert fits(answer, made)
        assert "its signature does not fit" in problem((await call(http, "GET", "/agents/c/healthz"))[1], 401)
