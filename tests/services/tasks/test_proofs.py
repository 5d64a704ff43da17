"""A device with a key is sent a task only over a connection over which it has signed, so no thief of its address is.

Covers: app.services.tasks.connections
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from app.domain.clients import Endpoint, Health
from app.domain.retries import RetryBudget
from app.metrics import Metrics
from app.services.tasks.answers import AgentFailed
from app.services.tasks.assignments import Assignment
from app.services.tasks.bodies import TaskBody
from app.services.tasks.breakers import Breakers
from app.services.tasks.dispatch import Dispatcher
from app.settings import AgentSettings
from app.store.database import Database
from app.store.model_store import ModelStore
from tcsfeel.agent import AgentHost, Signing
from tcsfeel.agent.asgi import Message, Receive, Scope, Send
from tcsfeel.agent.listening import listening as serving
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import pack
from tcsfeel.wire.tasks import task_metadata
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder
from tests.services.asking import failure
from tests.services.bench import TASK
from tests.services.fakes import HERE, LOOPBACK, SERVER_SEED, Highest, answering, calling, listening, profile, reply
from tests.store.samples import client

DEVICE, SECOND = Identity(b"d" * 32), Identity(b"e" * 32)
MODEL = pack({"w": np.zeros(3, np.float32)})
HEALTHY = reply("200 OK", b'{"status":"ok"}')
UNSIGNED = "unproven: unsigned answer: the client has a public key, so its results have to be signed with it"


class Devices:
    """Devices `a` and `b` behind one port, and the calls that came in there."""

    def __init__(self) -> None:
        self.host = AgentHost()
        self.closing = False
        self.calls: list[str] = []
        self.peers: list[tuple[str, int]] = []
        for name, identity in (("a", DEVICE), ("b", SECOND)):
            self.host.add(name, Adder(), signing=Signing(identity, Identity(SERVER_SEED).public_key))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append(f"{scope['method']} {scope['path'].split('/')[2]}/{scope['path'].split('/')[3]}")
        self.peers.append(tuple(scope["client"]))

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self.closing:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self.host(scope, receive, closing)

    def close(self) -> None:
        self.host.close()


@asynccontextmanager
async def devices(port: int = 0) -> AsyncIterator[tuple[Devices, str]]:
    app = Devices()
    async with asyncio.timeout(30), serving(app, HERE, port) as url:
        yield app, url
    app.close()


def endpoint(url: str, name: str = "a") -> Endpoint:
    identity = {"a": DEVICE, "b": SECOND}[name]
    return Endpoint(f"{url}{AgentHost.path(name)}", public_key=identity.public_key)


def body() -> TaskBody:
    return TaskBody(*MODEL.payload(task_metadata(TASK)))


async def test_each_device_signs_once_over_a_connection_before_it_gets_tasks_over_it(spool: ModelStore) -> None:
    async with calling(max_bytes=10_000, **LOOPBACK) as agents, devices() as (app, url):
        for name in ("a", "a", "b", "a"):
            assert (await agents.hand_over(endpoint(url, name), TASK.id, body(), spool)).answer in {"working", "result"}
        assert app.calls == [
            "GET a/healthz",
            "PUT a/tasks",
            "PUT a/tasks",
            "GET b/healthz",
            "PUT b/tasks",
            "PUT a/tasks",
        ]
        assert len(set(app.peers)) == 2  # each device has a connection of its own, also on the same port


async def test_a_device_that_closes_each_connection_gets_its_task_over_the_next_one(spool: ModelStore) -> None:
    async with calling(max_bytes=10_000, **LOOPBACK) as agents, devices() as (app, url):
        app.closing = True
        assert (await agents.hand_over(endpoint(url), TASK.id, body(), spool)).answer in {"working", "result"}
        assert app.calls == ["GET a/healthz", "PUT a/tasks"]
        assert len(set(app.peers)) == 2


async def test_a_thief_of_an_address_is_sent_no_task(spool: ModelStore) -> None:
    async with calling(max_bytes=10_000, **LOOPBACK) as agents:
        async with devices() as (_, url):
            assert (await agents.health(endpoint(url))).alive
            await agents.hand_over(endpoint(url), TASK.id, body(), spool)
        port = int(url.rpartition(":")[2])
        keeping = HEALTHY.replace(b"connection: close\r\n", b"")
        async with listening(keeping, answering(keeping), port=port) as thief:
            assert await failure(agents.hand_over(endpoint(url), TASK.id, body(), spool)) == UNSIGNED
    assert [request.partition(b" ")[0] for request in thief.requests] == [b"GET"]


@pytest.mark.parametrize(
    ("answer", "why", "kind"),
    [
        (reply("404 Not Found", b"nothing here"), "the agent answered 404: nothing here", "faulty"),
        (reply("503 Service Unavailable"), "the agent answered 503", "unreachable"),
        (b"", "the agent closed the connection before it answered", "unreachable"),
    ],
)
async def test_an_agent_that_does_not_sign_gets_no_task(answer: bytes, why: str, kind: str, spool: ModelStore) -> None:
    async with calling(max_bytes=10_000, **LOOPBACK) as agents, listening(answer) as peer:
        with pytest.raises(AgentFailed) as caught:
            await agents.hand_over(endpoint(peer.url), TASK.id, body(), spool)
    assert (str(caught.value).endswith(why), caught.value.kind) == (True, kind)
    assert [request.partition(b" ")[0] for request in peer.requests] == [b"GET"]


async def test_an_address_that_signs_no_more_has_to_prove_again_whose_it_is(
    db: Database, counts: Metrics, tmp_path: Path
) -> None:
    clock = FakeClock(sleeping=Sleeping.SKIPS)
    async with calling(max_bytes=10_000, **LOOPBACK) as agents, listening(HEALTHY) as thief:
        at = endpoint(thief.url)
        before = client("a", profile=profile(at.url or ""), public_key=DEVICE.public_key)
        before = before.identified(at, Health(alive=True), clock.now())
        assert before.unproven is None
        async with db.begin() as tx:
            await tx.clients.add([before])
        dispatcher = Dispatcher(
            caller=agents,
            breakers=Breakers(db, clock, counts, Highest()),
            settings=AgentSettings(),
            clock=clock,
            metrics=counts,
            rng=Highest(),
        )
        assignment = Assignment(before, TASK, MODEL, ModelStore(tmp_path / "spool"))
        outcome = await dispatcher.run(assignment, {}, RetryBudget(0))
    assert outcome.reason == UNSIGNED
    async with db.read() as tx:
        assert (await tx.clients.get("a")).unproven == UNSIGNED
        events = (await tx.events.after(0, limit=100)).items
    assert [event.type for event in events] == ["client.doubted"]
