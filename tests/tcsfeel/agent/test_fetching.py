"""Tasks whose parameters the agent fetches by a URL."""

import asyncio
import logging
import socket
from collections.abc import Callable

import httpx2
import numpy as np
import pytest

from tcsfeel.agent.app import Agent
from tcsfeel.agent.delivering import SMALL_BYTES
from tcsfeel.agent.entries import Entry, Outcome
from tcsfeel.agent.fetching import PAUSE_SECONDS, Fetching
from tcsfeel.wire.codec import decode, encode
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.tasks import BY_URL, Source
from tests.clocks import FakeClock
from tests.tcsfeel.agent.calling import TASK, client, problem
from tests.tcsfeel.agent.fakes import AddingTrainer, GatedTrainer, eventually, make_task, task_body
from tests.tcsfeel.agent.files import FILE, PARAMETERS, PATH, SECRET, body_by_url, host
from tests.tcsfeel.agent.planes import Plane, given, pulling

WORK = make_task()


async def fetched(source: Source, fetching: Fetching | None = None, most: int = 10_000) -> object:
    fetch = (fetching or Fetching()).of({"source": source.to_json()}, most)
    assert fetch is not None
    return await fetch(Entry(WORK, 1e9, lambda: 0.0))


@pytest.mark.parametrize("cut", [None, 20])
async def test_parameters_are_fetched_without_a_key_and_from_where_they_broke_off(cut: int | None) -> None:
    with host(cut=cut) as store:
        found = await fetched(store.source())
    assert isinstance(found, dict)
    assert found["w"].tolist() == PARAMETERS["w"].tolist()
    assert {path for path, _ in store.asked} == {f"{PATH}?{SECRET}"}
    assert [headers.get("Range") for _, headers in store.asked] == [None, *([f"bytes={cut}-"] if cut else [])]
    assert all({"Authorization", "Cookie"}.isdisjoint(headers) for _, headers in store.asked)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (403, f"<Error><StringToSign>{SECRET}</StringToSign></Error>".encode(), "the host answered 403"),
        (404, b"", "the host answered 404"),
        (302, b"", "the host answered 302"),
        (200, FILE[:-1] + b"!", "the file has other bytes than the control plane says"),
        (200, FILE[:-1], "the file has other bytes than the control plane says"),
        (200, FILE + b"!", f"the task has more than {len(FILE)} bytes"),
    ],
)
async def test_a_fetch_that_fails_says_why_and_not_by_which_url(
    status: int, body: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # at which httpx2 logs every call
    clock = FakeClock()
    fetching = Fetching(clock=clock.now)
    assert fetching.said == {BY_URL: "?1"}
    with host(status, body, Location="http://127.0.0.1:9/elsewhere") as store:
        found = await fetched(store.source(), fetching)
    assert isinstance(found, Outcome)
    assert (found.event, why in found.failure) == ("lost", True), found
    assert fetching.said[BY_URL].startswith(f'?0;reason="{why}')
    assert SECRET not in caplog.text + found.failure + fetching.said[BY_URL]
    assert why in caplog.text
    clock.advance(PAUSE_SECONDS)
    assert fetching.said == {BY_URL: "?1"}


async def test_a_file_that_is_too_large_is_not_asked_for() -> None:
    with host() as store:
        found = await fetched(store.source(size=10_001))
    assert isinstance(found, Outcome)
    assert found.failure.endswith("the file has 10001 bytes, at most 10000 are allowed")
    assert store.asked == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "no url", f"http://[::1?{SECRET}"])
async def test_what_is_no_url_of_a_host_is_not_fetched(url: str) -> None:
    found = await fetched(Source(url=url, sha256="0" * 64, size=1))
    assert isinstance(found, Outcome)
    assert (found.event, SECRET in found.failure) == ("lost", False)


def agent(trainer: AddingTrainer | None = None) -> Agent:
    return Agent(trainer or AddingTrainer(), fetching=Fetching())


async def test_an_agent_that_is_called_trains_with_what_it_has_fetched() -> None:
    with host() as store:
        async with client(agent()) as http:
            assert (await http.get("/healthz")).headers[BY_URL] == "?1"
            answer = await http.put(TASK, content=body_by_url(WORK, store.source()))
            if answer.status_code == 202:
                answer = await http.get(f"{TASK}?wait=30")
            assert answer.status_code == 200
            assert decode(answer.content)[0]["w"].tolist() == [1.0, 2.0, 3.0, 4.0]
            assert (await http.put(TASK, content=body_by_url(WORK, store.source()))).status_code == 200
    assert len(store.asked) == 1


async def test_an_agent_forgets_a_task_that_it_could_not_fetch_and_takes_it_whole() -> None:
    trainer = GatedTrainer()
    trainer.gate.set()
    with host(403) as store:
        async with client(agent(trainer)) as http:
            answer = await http.put(TASK, content=body_by_url(WORK, store.source()))
            if answer.status_code == 202:
                answer = await http.get(f"{TASK}?wait=30")
            assert problem(answer, 404) == "its parameters could not be fetched: the host answered 403"
            assert (await http.get("/healthz")).headers[BY_URL] == '?0;reason="the host answered 403"'
            answer = await http.put(TASK, content=task_body(WORK))
            if answer.status_code == 202:
                answer = await http.get(f"{TASK}?wait=30")
            assert answer.status_code == 200
    assert trainer.order == [WORK.id]


async def test_a_task_that_is_deleted_is_not_fetched_to_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = Source(url=f"http://127.0.0.1:{silent.getsockname()[1]}/f", sha256="0" * 64, size=9)
        device = agent()
        async with client(device) as http:
            assert (await http.put(TASK, content=body_by_url(WORK, source))).status_code == 202
            assert (await http.delete(TASK)).status_code == 204
            await eventually(lambda: not len(device.table))
            assert (await http.get("/healthz")).headers[BY_URL] == "?1"  # nothing failed


async def test_an_agent_without_fetching_says_nothing_of_urls() -> None:
    async with client(Agent(AddingTrainer())) as http:
        assert BY_URL not in (await http.get("/healthz")).headers


async def test_an_agent_that_pulls_asks_again_for_what_it_could_not_fetch() -> None:
    said: list[str] = []

    def noting(plane: Plane) -> Callable[[httpx2.Request], httpx2.Response]:
        def answer(request: httpx2.Request) -> httpx2.Response:
            said.append(request.headers.get(BY_URL, ""))
            return plane(request)

        return answer

    with host(403) as gone, host() as store:
        plane = Plane(given(body=body_by_url(WORK, gone.source())), given(body=body_by_url(WORK, store.source())))
        puller, _ = pulling(noting(plane), fetching=Fetching())
        await puller.step()
        await eventually(lambda: not puller._works)
        assert plane.results == []
        await puller.step()  # another control plane might send a URL again
        await eventually(lambda: plane.results)
    assert plane.known == [[], []]
    assert said[:2] == ["?1", '?0;reason="the host answered 403"']
    assert decode(plane.results[0].content)[0]["w"].tolist() == [1.0, 2.0, 3.0, 4.0]


async def test_a_source_that_is_none_is_a_wrong_task(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    source = Source(url=f"http://h/?{SECRET}", sha256="0" * 64, size=9)
    body = body_by_url(WORK, source).replace(b'size\\":9', b'size\\":0')
    async with client(agent()) as http:
        answer = await http.put(TASK, content=body)
        assert problem(answer, 422) == "source.size should be greater than or equal to 1"
    assert SECRET not in answer.text + caplog.text + repr(source)
    await asyncio.sleep(0)


LARGE = encode({"w": np.zeros(SMALL_BYTES // 4, np.float32)})


@pytest.mark.parametrize(
    ("takes", "answers", "sent"),
    [(200, (), [False]), (403, (), [True]), (200, (400,), [False, True]), (200, (413,), [False, True])],
    ids=["taken", "expired", "other bytes", "too large"],
)
async def test_a_large_update_is_put_where_the_task_says_and_sent_if_that_fails(
    takes: int, answers: tuple[int, ...], sent: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    with host(body=LARGE, takes=takes) as store:
        body = body_by_url(WORK, store.source(LARGE, upload="/models/uploads/t"))
        plane = Plane(given(body=body), deliveries=(*answers, *[405] * sent[-1], 204))
        puller, _ = pulling(plane, fetching=Fetching())
        await puller.step()
        await eventually(lambda: not puller._works)
    (put,) = store.put
    assert set(decode(put)[0]["w"].tolist()) == {1.0}
    path, headers = store.asked[-1]
    assert path == f"/models/uploads/t?{SECRET}"
    assert {"Authorization", "Cookie"}.isdisjoint(headers)
    digest = written_digest(digest_of([put]))
    whole = [one for one in plane.results if one.method == "PUT"]
    assert {one.headers[CONTENT_DIGEST] for one in whole} == {digest}
    assert [len(one.content) > SMALL_BYTES for one in whole] == sent
    assert [one.headers.get(BY_URL) for one in whole] == [None if itself else "?1" for itself in sent]
    assert SECRET not in caplog.text
