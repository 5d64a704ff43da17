"""Children that send a relay what they like: neither the relay nor the other children suffer."""

from collections.abc import AsyncIterator

import httpx2
import numpy as np
import pytest

from tcsfeel.agent.children import ChildFailed, Errand, result_of
from tcsfeel.wire.codec import encode
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.tasks import TaskResult, result_metadata
from tests.tcsfeel.agent.relays import Grove

W = {"w": np.array([1.0, 2.0], np.float32)}
STEP = {"w": np.ones(2, np.float32)}


@pytest.mark.parametrize("polls", [0, 1])
async def test_a_child_that_forgets_its_task_again_and_again_gets_it_three_times(
    polls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it could make the relay send the model without an end."""
    monkeypatch.setattr("tcsfeel.agent.children.POLL_PAUSE_SECONDS", 0.0)
    grove = Grove(W)
    grove.add("r", STEP, 10)
    grove.add("a", STEP, 10)
    since = 0

    def forgetful(request: httpx2.Request) -> httpx2.Response:
        nonlocal since
        since = 0 if request.method == "PUT" else since + 1
        return httpx2.Response(404 if since > polls else 202)

    grove.network.apps["a"] = httpx2.MockTransport(forgetful)
    _, partial = await grove.relayed("r", [grove.child("a", "r", deadline_seconds=5.0)])
    assert [one.reason for one in partial.missing] == ["it answered 404: it does not know the task"]
    assert [call.method for call in grove.network.calls].count("PUT") == 3


async def test_a_child_whose_result_cannot_be_named_in_the_mean_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child says what it likes, and its relay and the other children are not to suffer."""
    grove = Grove(W)
    grove.add("r", STEP, 10)
    grove.add("bad", STEP, 10, key=True)
    grove.add("good", STEP, 10)
    monkeypatch.setattr("tcsfeel.agent.children.check_answer", lambda *_, **__: None)
    body = encode(W, dict(result_metadata(TaskResult(num_examples=5, loss=0.1))))
    headers = {CONTENT_DIGEST: written_digest(digest_of([body])), "Signature-Input": "x" * 2001, "Signature": "y"}

    async def stream() -> AsyncIterator[bytes]:
        yield body

    grove.network.apps["bad"] = httpx2.MockTransport(lambda _: httpx2.Response(200, content=stream(), headers=headers))
    _, partial = await grove.relayed("r", [grove.child("bad", "r"), grove.child("good", "r")])
    assert [one.client_id for one in partial.members] == ["good", "r"]
    assert "signature_input should have at most 2000 characters" in partial.missing[0].reason


@pytest.mark.parametrize("status", [409, 429])
async def test_a_child_that_has_no_time_is_not_sent_the_model_every_few_seconds(status: int) -> None:
    grove = Grove(W)
    grove.add("a", STEP, 10)
    grove.network.apps["a"] = httpx2.MockTransport(lambda _: httpx2.Response(status))
    child, now = grove.child("a", "r", deadline_seconds=300.0), 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now >= child.deadline_seconds:
            raise TimeoutError

    errand = Errand(child, grove.model.payload(), b"", most_bytes=1000)
    async with httpx2.AsyncClient(transport=grove.network) as http:
        with pytest.raises(ChildFailed, match="had no result within 300 s"):
            await result_of(errand, http, clock=lambda: now, sleep=sleep)
    assert len(grove.network.calls) == 6  # after 0, 5, 15, 35, 75 and 155 s
