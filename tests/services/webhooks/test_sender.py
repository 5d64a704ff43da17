"""One delivery: what is sent, and what is said of its failure."""

import asyncio
from dataclasses import replace

import pytest

from app.domain.webhooks import Delivery, Webhook
from app.services.access.secrets import ServerSecret
from app.services.tasks.address_guard import AddressGuard
from app.services.tasks.breaks import UNREACHABLE, Broken
from app.services.tasks.connections import AgentTransport
from app.services.tasks.requests import Request
from app.services.tasks.responses import Proof, Response
from app.services.webhooks.sender import Sender
from app.services.webhooks.webhooks import NewWebhook
from app.settings import AgentSettings
from tests.clocks import FakeClock
from tests.services.fakes import SECRET
from tests.services.webhooks.receivers import Receiver, verified

TEXT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOOK = Webhook(
    id="w",
    url="http://receiver/hook",
    secret=SECRET.encrypt(TEXT),
    cursor=0,
    created_at=1,
    created_by="a",
    updated_at=1,
)
EVENT = Delivery(webhook_id="w", event_id=7, type="round.completed", body='{"type": "round.completed", "é": 1}')


async def test_an_event_is_signed_and_has_an_id_that_stays(clock: FakeClock, receiver: Receiver) -> None:
    sender = Sender(receiver, SECRET, clock)
    assert (await sender.send(HOOK, EVENT)) == (204, None)
    (request, body) = receiver.requests[0]
    assert (request.method, request.target, request.headers["webhook-id"]) == ("POST", "/hook", "evt_w_7")
    assert request.headers["webhook-timestamp"] == str(int(clock.now()))
    assert request.headers["Content-Length"] == str(len(body.encode()))
    assert verified(NewWebhook(HOOK, TEXT), request, body)["type"] == "round.completed"
    await sender.close()


@pytest.mark.parametrize(
    ("url", "target"),
    [("http://a", "/"), ("http://a/", "/"), ("http://a/b", "/b"), ("http://a/b/", "/b/"), ("https://a:1/b", "/b")],
)
async def test_the_path_is_that_of_the_url(clock: FakeClock, receiver: Receiver, url: str, target: str) -> None:
    await Sender(receiver, SECRET, clock).send(replace(HOOK, url=url), EVENT)
    assert receiver.requests[0][0].target == target


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (200, None),
        (299, None),
        (302, "the receiver answered 302, and redirects are not followed"),
        (404, "the receiver answered 404"),
        (410, "the receiver answered 410"),
        (503, "the receiver answered 503"),
    ],
)
async def test_any_status_but_2xx_is_a_failure(
    clock: FakeClock, receiver: Receiver, status: int, problem: str | None
) -> None:
    receiver.status = status
    sent = await Sender(receiver, SECRET, clock).send(HOOK, EVENT)
    assert (sent.status, sent.problem, sent.is_gone) == (status, problem, status == 410)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (Broken(UNREACHABLE), "the receiver could not be reached"),
        (TimeoutError(), "the receiver did not answer in time"),
        (ConnectionResetError(), "the connection was lost (ConnectionResetError)"),
    ],
)
async def test_a_connection_that_fails_is_a_failure_in_words(
    clock: FakeClock, receiver: Receiver, error: Exception, problem: str
) -> None:
    receiver.error = error
    assert await Sender(receiver, SECRET, clock).send(HOOK, EVENT) == (None, problem)


class Silent:
    """A transport behind which nobody answers."""

    async def exchange(self, request: Request, proof: Proof | None = None) -> Response:
        del request, proof
        await asyncio.Event().wait()
        raise AssertionError("nobody sets the event")

    async def close(self) -> None:
        """There is nothing to close."""


async def test_a_receiver_that_says_nothing_holds_up_a_delivery_for_a_bounded_time(clock: FakeClock) -> None:
    sent = await Sender(Silent(), SECRET, clock, seconds=0.02).send(HOOK, EVENT)
    assert sent == (None, "the receiver did not answer in time")


async def test_a_secret_that_cannot_be_decrypted_is_a_failure_that_names_the_setting(
    clock: FakeClock, receiver: Receiver
) -> None:
    sent = await Sender(receiver, ServerSecret([b"another"]), clock).send(HOOK, EVENT)
    assert sent.problem is not None
    assert "TCSFEEL_AUTH__SECRET_KEYS" in sent.problem
    assert receiver.requests == []


async def test_addresses_that_may_not_be_called_are_refused_with_the_setting_of_webhooks(clock: FakeClock) -> None:
    guard = AddressGuard([]).of_receivers([])
    sender = Sender(AgentTransport(AgentSettings(), guard), SECRET, clock)
    for url in ("http://127.0.0.1:9/", "http://169.254.169.254/", "http://[::1]:9/", "http://0.0.0.0:9/"):
        sent = await sender.send(replace(HOOK, url=url), EVENT)
        assert sent.status is None
        assert sent.problem is not None
        assert sent.problem.startswith("receivers of webhooks may n")
    here = await sender.send(replace(HOOK, url="http://127.0.0.1:9"), EVENT)
    assert "TCSFEEL_WEBHOOKS__ALLOWED_NETWORKS" in (here.problem or "")
    await sender.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()
