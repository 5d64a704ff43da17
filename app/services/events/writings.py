"""Write events once for all who are sent the same ones.

Hundreds of readers and webhooks follow the log, and most of them are sent each event in the same words.
"""

from collections.abc import Callable
from typing import AnyStr, Generic

from app.store.events import RecordedEvent

MOST_BYTES = 4_000_000  # of texts that are kept, give or take the longest one


class Writings(Generic[AnyStr]):
    """Keeps what `write` has made of events, until it has about `most_bytes`.

    Readers who are up to date share the events themselves (`EventFeed`), and only they share what was written: an event
    that was read again is another object, and is written again.
    """

    def __init__(self, write: Callable[[RecordedEvent], AnyStr], *, most_bytes: int = MOST_BYTES) -> None:
        self._write: Callable[[RecordedEvent], AnyStr] = write
        self._most_bytes = most_bytes
        self._kept: dict[int, tuple[RecordedEvent, AnyStr]] = {}
        self._bytes = 0

    def of(self, event: RecordedEvent) -> AnyStr:
        """Return what `write` makes of an event."""
        kept = self._kept.get(event.id)
        if kept is not None and kept[0] is event:
            return kept[1]
        written = self._write(event)
        if self._bytes > self._most_bytes:
            self._kept.clear()
            self._bytes = 0
        self._kept[event.id] = event, written
        self._bytes += len(written)
        return written
