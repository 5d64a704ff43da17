"""``/v1/events``: what happens, page by page or as a stream."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.domain.principals import Principal
from app.http.deps import AppFeed, AppFrames, AppPrincipal, Departure, Party, Recheck
from app.http.frames import Frames, shown
from app.http.roles import Needs
from app.http.routes import ApiRoute
from app.http.waiting import unless_gone
from app.services.access.issuer import IssuerUnavailable
from app.services.access.keys import Unauthenticated
from app.services.events.feed import EventFeed, EventFilter
from app.store.availability import DatabaseUnavailable
from app.store.events import RecordedEvent
from tcsfeel.contract.events import EventsOut
from tcsfeel.contract.fields import ID_PATTERN

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=ApiRoute)

# After so long without an event, a stream sends a comment, so that no proxy closes it, and looks at the key again: 5 s
# after a key was revoked, every server has to refuse it.
ALIVE_SECONDS = 2.5
RETRY_MILLISECONDS = 2000
PAGE = 100  # events of a stream that are in memory for one reader
BLOCK_BYTES = 65_536  # of a stream, after which its reader is waited for
MOST_ID = 2**63 - 1

Types = Annotated[
    list[Annotated[str, Query(max_length=64)]] | None,
    Query(max_length=50, description="Only events of these types", examples=[["round.completed"]]),
]
OfTraining = Annotated[
    str | None, Query(pattern=ID_PATTERN, description="Only events of this training", examples=["0d3a0016bafee559"])
]
OfClient = Annotated[str | None, Query(pattern=ID_PATTERN, description="Only events of this client")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most events. Fewer come if they are long")]


class EventStream(StreamingResponse):
    """A stream that has one of the places for readers until it ends. Raises `TooManyReaders` before it begins."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncIterator[bytes], feed: EventFeed, party: str) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._feed = feed
        self._party = party

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._feed.place(self._party):
            await super().__call__(scope, receive, send)


@router.get("", openapi_extra=Needs.viewer)
async def list_events(
    *,
    feed: AppFeed,
    principal: AppPrincipal,
    party: Party,
    departure: Departure,
    after: Annotated[
        int, Query(ge=0, le=MOST_ID, description="The `cursor` of the previous page; 0 for the oldest event")
    ] = 0,
    type_: Annotated[Types, Query(alias="type")] = None,
    training: OfTraining = None,
    client: OfClient = None,
    wait: Annotated[
        float, Query(ge=0, le=60, description="Seconds to wait for an event if there is none yet", examples=[30])
    ] = 0.0,
    limit: Limit = 100,
) -> EventsOut:
    """List the events after a cursor, oldest first.

    A reader that passes the `cursor` of each answer as `after` of the next call gets every event once, whichever
    server answers.
    """
    only = EventFilter(training, client, frozenset(type_ or ()))
    if wait == 0:
        found = await feed.page(after=after, limit=limit, only=only)
    else:
        with feed.place(party):
            found = await unless_gone(feed.page(after=after, limit=limit, only=only, seconds=wait), departure)
    return EventsOut(items=[shown(event, principal) for event in found.items], cursor=found.cursor, more=found.more)


@router.get(
    "/stream",
    openapi_extra=Needs.viewer,
    response_class=EventStream,
    status_code=200,
)
async def stream_events(
    *,
    feed: AppFeed,
    frames: AppFrames,
    party: Party,
    recheck: Recheck,
    after: Annotated[
        int | None, Query(ge=0, le=MOST_ID, description="Begin after this event; without it, with the next one")
    ] = None,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=MOST_ID, description="The id of the last event that came; it counts before `after`")
    ] = None,
    type_: Annotated[Types, Query(alias="type")] = None,
    training: OfTraining = None,
    client: OfClient = None,
) -> EventStream:
    """Stream events as they happen (Server-Sent Events).

    Each event has its id, its type, and as data what `GET /v1/events` shows of it. A reader that connects again with
    the header `Last-Event-ID` goes on after that event, at any server. When a server stops, its database does not
    answer, or the key is not valid any more, the last event is of the type `closing` and says why.
    """
    begin = last_event_id if last_event_id is not None else after
    cursor = await feed.newest() if begin is None else begin
    only = EventFilter(training, client, frozenset(type_ or ()))
    return EventStream(streamed(feed, frames, recheck, cursor, only), feed, party)


async def streamed(
    feed: EventFeed,
    frames: Frames,
    recheck: Callable[[], Coroutine[Any, Any, Principal]],
    cursor: int,
    only: EventFilter,
) -> AsyncIterator[bytes]:
    """Yield the blocks of a stream. Events that are there together come in one block, after one look at the key."""
    reason = "this server stops: connect again"
    yield format_sse_event(comment="connected", retry=RETRY_MILLISECONDS)
    try:
        async for items in _followed(feed, cursor, only):
            by, block = await recheck(), bytearray()
            for event in items:
                block += frames.of(event, by)
                if len(block) > BLOCK_BYTES:
                    yield bytes(block)
                    by, block = await recheck(), bytearray()
            if not items:
                yield format_sse_event(comment="alive")
            elif block:
                yield bytes(block)
    except Unauthenticated:
        reason = "the key is not valid any more"
    except DatabaseUnavailable as error:
        reason = f"the database {error.finding}: connect again"
    except IssuerUnavailable:
        reason = "the issuer of the token does not answer: connect again"
    yield format_sse_event(event="closing", data_str=json.dumps({"reason": reason}))


async def _followed(feed: EventFeed, cursor: int, only: EventFilter) -> AsyncIterator[list[RecordedEvent]]:
    """Yield the events after a cursor until the server stops, some at a time, and none now and then."""
    while not feed.stopping:
        page = await feed.page(after=cursor, limit=PAGE, only=only, seconds=ALIVE_SECONDS)
        cursor = page.cursor
        if page.items or not feed.stopping:
            yield page.items
