"""Write events as frames of Server-Sent Events, once for all readers who may see the same."""

from collections.abc import Callable

from fastapi.sse import format_sse_event

from app.domain.principals import Principal
from app.http.quotations import data_shown_to
from app.services.events.writings import Writings
from app.store.events import RecordedEvent
from tcsfeel.contract.events import EventOut


class Frames:
    """The frames of one server's streams. Operators see what agents have answered, viewers do not."""

    def __init__(self) -> None:
        self._full = Writings(_writer(Principal("operator", "")))
        self._plain = Writings(_writer(Principal("viewer", "")))

    def of(self, event: RecordedEvent, by: Principal) -> bytes:
        """Return the frame of an event as a caller may see it."""
        return (self._full if by.may("operator") else self._plain).of(event)


def shown(event: RecordedEvent, by: Principal) -> EventOut:
    """Return an event as a caller may see it."""
    whole = EventOut.model_validate(event)
    return whole.model_copy(update={"data": data_shown_to(by, whole.data)})


def _writer(by: Principal) -> Callable[[RecordedEvent], bytes]:
    def frame(event: RecordedEvent) -> bytes:
        data = shown(event, by).model_dump_json()
        return format_sse_event(event=event.type, id=str(event.id), data_str=data)

    return frame
