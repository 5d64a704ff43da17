"""Parameters that agents fetch by URL, so that they do not go through the server.

Covers: app.services.tasks.agents
"""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from app.buckets import Bucket
from app.domain.clients import Endpoint
from app.domain.errors import NotFound
from app.metrics import Metrics
from app.services.tasks.bodies import Origin, TaskBody
from app.services.tasks.pulls import Taken
from app.services.tasks.sources import LEAST_BYTES, Sources
from app.store.bucket import ObjectStoreUnavailable
from app.store.database import Database
from app.store.model_store import StoredFile
from app.store.presigned import PresignedUrls
from tcsfeel.wire.codec import decode, pack
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.tasks import BY_URL, Source, Task, read_source, read_task, task_metadata
from tests.services.asking import AGENT as ASKED
from tests.services.fakes import calling
from tests.services.tasks.mailing import AGENT, TASK, Post, posting, stays

BUCKET = Bucket("models", "", "http://10.0.0.7:9000", "us-east-1")
MODEL = pack({"w": np.zeros(LEAST_BYTES // 4, np.float32)})
FILE = StoredFile("f" * 64, LEAST_BYTES)
CALLED = Endpoint("http://a", client_id="a")


@pytest.fixture
def urls(credentials: dict[str, str]) -> PresignedUrls:
    assert credentials
    return PresignedUrls(BUCKET, "https://store.example")


@pytest.fixture
def counts() -> Metrics:
    return Metrics(CollectorRegistry(), max_clients=10)


class Agents:
    """What agents say of URLs, and how often they were asked."""

    def __init__(self, said: str) -> None:
        self.said = said
        self.asked = 0

    async def __call__(self, agent: Endpoint) -> str:
        assert agent == CALLED
        self.asked += 1
        return self.said


def body_of(task: Task = TASK, file: StoredFile | None = FILE) -> TaskBody:
    return TaskBody(*MODEL.payload(task_metadata(task)), Origin(task, MODEL, file))


def source_of(body: TaskBody) -> Source | None:
    return read_source(decode(body.header + bytes(body.block))[1])


def counted(counts: Metrics, channel: str, way: str) -> float | None:
    return counts.registry.get_sample_value("federated_parameters_by_url_total", {"channel": channel, "way": way})


async def test_an_agent_that_takes_urls_gets_one_in_place_of_the_parameters(
    urls: PresignedUrls, counts: Metrics
) -> None:
    whole, agents = body_of(), Agents("?1")
    sent = await Sources(urls, counts, ask=agents).in_place_of(whole, CALLED)
    source = source_of(sent)
    assert source is not None
    assert source.url.startswith(f"https://store.example/models/{FILE.sha256}?")
    assert "X-Amz-Expires=60&" in source.url  # as many seconds as the task has
    assert (source.sha256, source.size) == (FILE.sha256, FILE.size)
    tensors, metadata = decode(sent.header)
    assert (tensors, read_task(metadata)) == ({}, TASK)
    assert (len(sent) < 2_000, len(whole) > LEAST_BYTES) == (True, True)
    assert (counted(counts, "push", "url"), counted(counts, "push", "server")) == (1.0, 0.0)


@pytest.mark.parametrize("said", ["", "?0", '?0;reason="the host answered 403 \x1b[31m"', "?1; and more", "no"])
async def test_an_agent_that_does_not_take_urls_gets_the_parameters(
    urls: PresignedUrls, counts: Metrics, said: str
) -> None:
    whole = body_of()
    with capture_logs() as logs:
        assert await Sources(urls, counts, ask=Agents(said)).in_place_of(whole, CALLED) is whole
    assert (counted(counts, "push", "server") == 1.0) == bool(said)
    assert [entry["client"] for entry in logs] == (["a"] if said else [])
    assert all(entry["reason"].isprintable() for entry in logs)
    if "403" in said:
        assert logs[0]["reason"] == 'the agent could not fetch them by URL: "the host answered 403 [31m"'


@pytest.mark.parametrize(
    "body",
    [
        body_of(file=None),
        body_of(file=replace(FILE, size=LEAST_BYTES - 1)),
        body_of(replace(TASK, frozen_id="f")),
        body_of(replace(TASK, control_round=0)),
        body_of(replace(TASK, kind="model")),
        TaskBody(*MODEL.payload()),
    ],
    ids=["not as stored", "small", "frozen", "scaffold", "model", "no origin"],
)
async def test_what_is_not_a_large_file_of_the_store_comes_with_its_task(
    urls: PresignedUrls, counts: Metrics, body: TaskBody
) -> None:
    agents = Agents("?1")
    assert await Sources(urls, counts, ask=agents).in_place_of(body, CALLED) is body
    assert agents.asked == 0


async def test_without_the_setting_no_agent_is_asked(counts: Metrics) -> None:
    agents = Agents("?1")
    sources, whole = Sources(None, counts, ask=agents), body_of()
    assert await sources.in_place_of(whole, CALLED) is whole
    assert await sources.named(TASK, FILE, "?1", channel="pull", client_id="a") is None
    assert (agents.asked, sources.offer, sources.may_name(TASK, FILE)) == (0, False, False)


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [(200, {BY_URL: "?1"}, "?1"), (200, {}, ""), (401, {}, ""), (200, {BY_URL: '?0;reason="x"'}, '?0;reason="x"')],
)
async def test_an_agent_that_is_called_says_so_when_it_is_asked_for_its_health(
    status: int, headers: dict[str, str], said: str
) -> None:
    def agent(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, request.url.path) == ("GET", "/base/healthz")
        return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(b""))

    async with calling(agent) as agents:
        assert await agents.says_of_urls(ASKED) == said


async def test_an_agent_that_cannot_be_reached_says_nothing_of_urls() -> None:
    def lost(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    async with calling(lost) as agents:
        assert await agents.says_of_urls(ASKED) == ""


class Unsigned(PresignedUrls):
    """Has no credentials."""

    def to_read(self, sha256: str, seconds: float) -> str:
        raise ObjectStoreUnavailable(f"a URL could not be signed ({sha256[:1]}, {seconds:g})")


@pytest.mark.usefixtures("credentials")
async def test_without_credentials_parameters_come_with_their_task(counts: Metrics) -> None:
    whole = body_of()
    with capture_logs() as logs:
        assert await Sources(Unsigned(BUCKET), counts, ask=Agents("?1")).in_place_of(whole, CALLED) is whole
    assert logs[0]["reason"] == "a URL could not be signed (f, 60)"
    assert counted(counts, "push", "server") == 1.0


@pytest.fixture
async def post(db: Database, tmp_path: Path, urls: PresignedUrls) -> AsyncIterator[Post]:
    async with posting(db, tmp_path, urls=urls) as found:
        yield found


async def test_an_agent_that_pulls_gets_a_url_only_if_it_says_so(post: Post) -> None:
    await post.mailbox.hand_over(AGENT, TASK.id, body_of(), post.spool, limit=1_000)
    taken = await post.pulls.next("a", [], 0.0, stays, by_url="?1")
    assert isinstance(taken, Taken)
    source = source_of(taken.body)
    assert source is not None
    assert (source.sha256, source.size) == (taken.task.model, LEAST_BYTES + len(MODEL.payload()[0]))
    assert taken.headers[CONTENT_DIGEST] == written_digest(digest_of([taken.body.header]))
    assert "ETag" not in taken.headers
    with pytest.raises(NotFound, match="body of the task"):
        await post.pulls.again("a", TASK.id)  # it is short, and another one each time
    whole = await post.pulls.next("a", [], 0.0, stays, by_url='?0;reason="the host answered 403"')
    assert isinstance(whole, Taken)
    assert source_of(whole.body) is None
    again = await post.pulls.again("a", TASK.id)
    assert (await again.body.digest(), again.headers["ETag"]) == (await whole.body.digest(), whole.headers["ETag"])
    async with post.db.read() as tx:
        stored = await tx.mailbox.find(TASK.id)
    assert stored is not None
    assert stored.bytes_sent == len(taken.body) + len(whole.body)
    assert json.loads(stored.document)["id"] == TASK.id


async def test_a_small_model_comes_with_its_task_also_by_pull(post: Post) -> None:
    await post.offer()
    taken = await post.pulls.next("a", [], 0.0, stays, by_url="?1")
    assert isinstance(taken, Taken)
    assert source_of(taken.body) is None
