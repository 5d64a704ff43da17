"""The signatures of calls: whose agents get them, and that no two are the same."""

import httpx2

from app.services.tasks.signer import Signer
from tcsfeel.identity import Identity
from tcsfeel.wire.signatures import call_components, check_call
from tests.clocks import FakeClock
from tests.services.fakes import SERVER_SEED, endpoint

DEVICE = Identity(b"d" * 32)
URL = "http://agent/base/tasks/t.1.a.fit?wait=20"


def test_a_call_of_an_agent_with_a_key_is_signed_each_time_anew() -> None:
    clock = FakeClock()
    signer = Signer(SERVER_SEED, clock)
    nonces = set()
    for _ in range(3):
        request = httpx2.Request("GET", URL)
        call = signer.sign(request, endpoint(public_key=DEVICE.public_key))
        assert request.headers["Tcsfeel-Agent"] == DEVICE.public_key
        components = call_components("GET", "/base/tasks/t.1.a.fit?wait=20", DEVICE.public_key)
        headers = {name: request.headers[name] for name in ("Signature-Input", "Signature")}
        assert check_call(headers, components, key=Identity(SERVER_SEED).public_key, now=clock.now()) == call
        assert call is not None
        nonces.add(call.nonce)
    assert len(nonces) == 3


def test_a_call_of_another_agent_stays_as_it_is() -> None:
    request = httpx2.Request("GET", URL)
    before = dict(request.headers)
    assert Signer(SERVER_SEED, FakeClock()).sign(request, endpoint()) is None
    assert dict(request.headers) == before
