"""``/v1/events``: pages and streams of what happens.

Covers: app.routers.events, app.http.waiting
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest

from app.domain.events.rounds import ParticipationFailed
from app.domain.principals import ADMIN, Principal
from app.http.frames import Frames
from app.http.quotations import HIDDEN
from app.http.waiting import unless_gone
from app.routers import events
from app.routers.events import streamed
from app.services.events.feed import EventFilter
from tests.api import Api, assert_problem

SAID = "the secret of another service"


async def pages(api: Api, **params: Any) -> list[dict[str, Any]]:
    """All events that match, read in small pages."""
    found: list[dict[str, Any]] = []
    after, more = 0, True
    while more:
        page = (await api.http.get("/v1/events", params={"after": after, "limit": 2} | params)).json()
        found += page["items"]
        after, more = page["cursor"], page["more"]
    return found


async def test_pages_lead_through_all_events_or_those_of_one_kind(api: Api) -> None:
    await api.register("a", "b", "c")
    training_id = await api.create_training()
    await api.http.post("/v1/clients/a/breaker/open")
    await api.http.post("/v1/clients/a/breaker/reset")
    everything = await pages(api)
    assert [event["id"] for event in everything] == list(range(1, len(everything) + 1))
    assert {event["actor"] for event in everything} == {"admin key"}
    opened = [event for event in everything if event["type"] == "breaker.open"]
    assert [event["client_id"] for event in opened] == ["a"]
    assert await pages(api, type="breaker.open") == opened
    assert [event["type"] for event in await pages(api, client="a", type=["breaker.open", "breaker.closed"])] == [
        "breaker.open",
        "breaker.closed",
    ]
    assert {event["training_id"] for event in await pages(api, training=training_id)} == {training_id}
    assert await pages(api, training="unknown") == []


async def test_a_call_waits_for_the_next_event(api: Api) -> None:
    newest = (await api.http.get("/v1/events", params={"limit": 1000})).json()["cursor"]
    waiting = asyncio.create_task(api.http.get("/v1/events", params={"after": newest, "wait": 30}))
    await asyncio.sleep(0)
    await api.register("a")
    page = (await waiting).json()
    assert [event["type"] for event in page["items"]] == ["client.registered"]
    assert page["cursor"] > newest


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"after": -1}, "/query/after"),
        ({"after": 2**63}, "/query/after"),
        ({"wait": 61}, "/query/wait"),
        ({"wait": "nan"}, "/query/wait"),
        ({"limit": 0}, "/query/limit"),
        ({"training": "a b"}, "/query/training"),
        ({"type": "x" * 65}, "/query/type/0"),
        ({"type": ["x"] * 51}, "/query/type"),
        ({"kind": "x"}, "/query/kind"),
    ],
)
async def test_a_wrong_parameter_is_named(sqlite_api: Api, params: dict[str, Any], field: str) -> None:
    response = await sqlite_api.http.get("/v1/events", params=params)
    assert_problem(response, 422, field)


async def test_too_many_readers_of_one_caller_are_refused(sqlite_api: Api) -> None:
    places = sqlite_api.system.settings.limits.streams
    party = "127.0.0.1"
    with ExitStack() as taken:
        for _ in range(places):
            taken.enter_context(sqlite_api.system.feed.place(party))
        for path in ("/v1/events?wait=1", "/v1/events/stream"):
            response = await sqlite_api.http.get(path)
            assert "TCSFEEL_LIMITS__STREAMS" in assert_problem(response, 503)["detail"]
            assert int(response.headers["Retry-After"]) > 0
        assert (await sqlite_api.http.get("/v1/events")).status_code == 200


async def test_a_viewer_does_not_see_what_agents_have_answered(sqlite_api: Api) -> None:
    async with sqlite_api.system.db.begin() as tx:
        await tx.events.append(ParticipationFailed(training_id="t", round=1, client_id="a", reason=SAID))
    viewer = (await sqlite_api.system.keys.create(name="reader", role="viewer")).text
    read = await sqlite_api.anonymous.get("/v1/events", headers={"Authorization": f"Bearer {viewer}"})
    assert read.json()["items"][-2]["data"]["reason"] == HIDDEN
    assert SAID not in read.text
    assert SAID in (await sqlite_api.http.get("/v1/events")).text


async def test_a_stream_begins_after_an_event_and_ends_with_the_server(sqlite_api: Api) -> None:
    await sqlite_api.register("a", "b")
    sqlite_api.system.feed.stop()
    response = await sqlite_api.http.get("/v1/events/stream", params={"after": 0})
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    parts = [dict(line.split(": ", 1) for line in part.splitlines()) for part in response.text.split("\n\n") if part]
    assert parts[-1]["event"] == "closing"
    assert "connect again" in json.loads(parts[-1]["data"])["reason"]


async def test_events_that_are_there_together_come_in_one_block_after_one_look_at_the_key(
    sqlite_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await sqlite_api.create_training()
    looks = 0

    async def recheck() -> Principal:
        nonlocal looks
        looks += 1
        return ADMIN

    async def ids(blocks: AsyncIterator[bytes]) -> list[str]:
        return re.findall(r"^id: (\d+)$", (await anext(blocks)).decode(), re.MULTILINE)

    blocks = streamed(sqlite_api.system.feed, Frames(), recheck, 0, EventFilter())
    assert [await ids(blocks) for _ in range(2)] == [[], ["1", "2", "3"]]
    assert looks == 1
    monkeypatch.setattr(events, "BLOCK_BYTES", 0)
    blocks = streamed(sqlite_api.system.feed, Frames(), recheck, 0, EventFilter())
    assert [await ids(blocks) for _ in range(4)] == [[], ["1"], ["2"], ["3"]]
    assert looks == 4


async def test_readers_share_frames_with_those_who_may_see_the_same(sqlite_api: Api) -> None:
    async with sqlite_api.system.db.begin() as tx:
        await tx.events.append(ParticipationFailed(training_id="t", round=1, client_id="a", reason=SAID))
    (event,) = (await sqlite_api.system.feed.page(after=0, limit=1)).items
    frames = Frames()
    seen = {role: frames.of(event, Principal(role, "reader")) for role in ("admin", "operator", "viewer", "agent")}
    assert SAID.encode() in seen["admin"]
    assert seen["admin"] is seen["operator"]
    assert SAID.encode() not in seen["viewer"]
    assert seen["viewer"] is seen["agent"]


async def test_work_for_a_caller_ends_when_the_caller_hangs_up() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def leave() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await unless_gone(work(), leave)
    assert ended.is_set()


async def test_work_that_ends_before_the_caller_leaves_gives_its_result() -> None:
    async def work() -> int:
        return 7

    async def stay() -> None:
        await asyncio.Event().wait()

    assert await unless_gone(work(), stay) == 7
