"""The signatures of calls: whose agents get them, and that no two are the same."""

import re

import pytest

from app.domain.clients import Endpoint
from app.services.tasks.requests import Request
from app.services.tasks.responses import Response
from app.services.tasks.signer import Signer
from tcsfeel.identity import Identity
from tcsfeel.wire.signatures import (
    Signed,
    call_components,
    check_answer,
    check_call,
    task_components,
    wanted_signature,
)
from tests.clocks import FakeClock
from tests.services.fakes import SERVER_SEED, endpoint
from tests.services.network import answered

DEVICE = Identity(b"d" * 32)
PATH = "/tasks/t.1.a.fit?wait=20"


def request() -> Request:
    return Request("GET", "http://agent/base/", PATH)


def test_a_call_of_an_agent_with_a_key_is_signed_each_time_anew() -> None:
    clock = FakeClock()
    signer = Signer([SERVER_SEED], clock)
    nonces = set()
    for _ in range(3):
        sent = request()
        call = signer.sign(sent, endpoint(public_key=DEVICE.public_key))
        assert sent.headers["Tcsfeel-Agent"] == DEVICE.public_key
        components = call_components("GET", "/base/tasks/t.1.a.fit?wait=20", DEVICE.public_key)
        headers = {name: sent.headers[name] for name in ("Signature-Input", "Signature")}
        assert check_call(headers, components, key=Identity(SERVER_SEED).public_key, now=clock.now()) == call
        assert call is not None
        nonces.add(call.nonce)
    assert len(nonces) == 3


def test_a_call_of_another_agent_stays_as_it_is() -> None:
    sent = request()
    assert Signer([SERVER_SEED], FakeClock()).sign(sent, endpoint()) is None
    assert sent == request()


def refusal(known: str, status: int = 401) -> Response:
    return answered(status, headers={"WWW-Authenticate": f'Signature realm="agent", keyid="{known}"'})


def signed(signer: Signer, agent: Endpoint) -> Signed:
    sent = request()
    call = signer.sign(sent, agent)
    assert call is not None
    assert re.findall('keyid="([^"]+)"', sent.headers["Signature-Input"]) == [call.key]
    return call


def signed_by(signer: Signer, agent: Endpoint) -> str:
    return signed(signer, agent).key


def test_calls_of_a_device_that_knows_an_older_key_are_signed_with_that() -> None:
    new, old = Identity(SERVER_SEED).public_key, Identity(b"o" * 32).public_key
    signer = Signer([SERVER_SEED, b"o" * 32], FakeClock())
    agent, other = endpoint(public_key=DEVICE.public_key), endpoint(public_key=Identity(b"e" * 32).public_key)
    first, second = signed(signer, agent), signed(signer, agent)
    assert (first.key, second.key) == (new, new)
    assert signer.learn(agent, first, refusal(old))
    assert signer.learn(agent, second, refusal(old)), "it was sent before the answer to the first came"
    assert (signed_by(signer, agent), signed_by(signer, other)) == (old, new)
    assert not signer.learn(agent, signed(signer, agent), refusal(old)), "another try would end in the same way"
    assert signer.learn(agent, signed(signer, agent), refusal(new))
    assert signed_by(signer, agent) == new


@pytest.mark.parametrize(
    "answer",
    [
        refusal(Identity(b"x" * 32).public_key),
        refusal(Identity(b"o" * 32).public_key, 403),
        refusal("x" * 1000),
        answered(401),
    ],
)
def test_an_answer_that_names_no_other_key_of_the_server_changes_nothing(answer: Response) -> None:
    signer, agent = Signer([SERVER_SEED, b"o" * 32], FakeClock()), endpoint(public_key=DEVICE.public_key)
    assert not signer.learn(agent, signed(signer, agent), answer)
    assert signed_by(signer, agent) == Identity(SERVER_SEED).public_key
    assert not signer.learn(endpoint(), None, refusal(Identity(b"o" * 32).public_key))


def test_a_task_is_signed_with_the_key_that_its_agent_knows_and_for_its_question() -> None:
    device, newest, oldest = (Identity(bytes([number]) * 32) for number in range(3))
    signer = Signer([bytes([1]) * 32, bytes([2]) * 32], FakeClock())
    agent = Endpoint(None, public_key=device.public_key)
    for known, by in ((newest, newest), (oldest, oldest), (device, newest)):
        base, headers = signer.sign_task(agent, "digest", wanted_signature(known.public_key, "n"))
        components = task_components("digest", device.public_key)
        assert check_answer(headers, components, key=by.public_key, nonce="n").base == base
    for asking, wanted in ((agent, ""), (agent, "sig1=()"), (Endpoint(None), wanted_signature("k" * 43, "n"))):
        assert signer.sign_task(asking, "digest", wanted) == ("", {})


def test_a_task_is_granted_with_the_key_that_its_agent_knows() -> None:
    older = Identity(b"o" * 32)
    signer = Signer([SERVER_SEED, b"o" * 32], FakeClock())
    agent = endpoint(public_key=DEVICE.public_key)
    assert signer.grant(endpoint(), "t.1.a.fit", bytes(32), 1000) is None
    grant = signer.grant(agent, "t.1.a.fit", bytes(32), 1000)
    assert grant is not None
    assert grant.is_by_key(Identity(SERVER_SEED).public_key, "t.1.a.fit")
    assert signer.learn(agent, signed(signer, agent), refusal(older.public_key))
    grant = signer.grant(agent, "t.1.a.fit", bytes(32), 1000)
    assert grant is not None
    assert grant.is_by_key(older.public_key, "t.1.a.fit")
