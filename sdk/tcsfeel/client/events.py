"""Read events page by page, and follow them as they happen."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from tcsfeel.client.messages import call
from tcsfeel.contract.events import EventOut, EventsOut
from tcsfeel.rest.calls import HOLD_SECONDS
from tcsfeel.rest.exchange import Request, Steps

LIMIT = 100


def list_events(
    *,
    after: int = 0,
    types: Sequence[str] = (),
    training: str | None = None,
    client: str | None = None,
    wait: float = 0.0,
    limit: int = LIMIT,
) -> Steps[EventsOut]:
    """Read the events after a cursor, oldest first. If there are none, wait for some.

    Args:
        after: the `cursor` of the previous answer; 0 for the oldest event.
        types: only events of these types, such as ``round.completed``.
        training: only events of the training with this id.
        client: only events of the client with this id.
        wait: for how many seconds the server waits for an event if there is none yet, 0 to 60.
        limit: the most events, 1 to 1000.
    """
    filters = {"training": training, "client": client}
    params = [(name, value) for name, value in filters.items() if value is not None]
    params += [("after", str(after)), ("limit", str(limit)), *(("type", name) for name in types)]
    if wait:
        params.append(("wait", f"{wait:g}"))
    return (yield from call(EventsOut, Request("GET", "/v1/events", params=params, repeatable=True, wait_seconds=wait)))


def followed(read: Callable[[int, float], EventsOut], after: int, *, follow: bool) -> Iterator[EventOut]:
    """Yield events after a cursor, which `read` gives. With `follow`, wait for further ones without end."""
    while True:
        page = read(after, HOLD_SECONDS if follow else 0.0)
        yield from page.items
        after = page.cursor
        if not (page.more or follow):
            return


async def followed_async(
    read: Callable[[int, float], Awaitable[EventsOut]], after: int, *, follow: bool
) -> AsyncIterator[EventOut]:
    """Do what `followed` does, for event loops."""
    while True:
        page = await read(after, HOLD_SECONDS if follow else 0.0)
        for event in page.items:
            yield event
        after = page.cursor
        if not (page.more or follow):
            return
