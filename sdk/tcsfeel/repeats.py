"""A log handler that counts repeated lines instead of writing them."""

import copy
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TextIO

WINDOW_SECONDS = 10.0
SAME_LINES = 1  # that are written in a window; they differ in nothing but the time and the request
ALIKE_LINES = 200  # that are written in a window; they have the same text with other values
MOST_KINDS = 1000  # that are remembered at the same time
_VOLATILE = {"timestamp", "request", "ms", "duration"}


@dataclass(slots=True)
class _Tally:
    ends_at: float
    allowed: int
    last: logging.LogRecord
    count: int = 0


class RepeatCounter(logging.StreamHandler[TextIO]):
    """Writes a line, and for similar lines within the next ten seconds only the last one with their number.

    `clock` gives monotonic seconds. Counts that are left when logging ends are written at the end.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._tallies: dict[Hashable, _Tally] = {}  # in the order of their ends

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        self._write_ended(now)
        keys = ((_line(record), SAME_LINES), (_text(record), ALIKE_LINES))
        tallies = [self._tally(key, allowed, record, now) for key, allowed in keys]
        full = next((tally for tally in tallies if tally.allowed == 0), None)
        if full is None:
            for tally in tallies:
                tally.allowed -= 1
            super().emit(record)
        else:
            full.last = record
            full.count += 1

    def close(self) -> None:
        self.acquire()
        try:
            self._write_ended(float("inf"))
        finally:
            self.release()
        super().close()

    def _tally(self, key: Hashable, allowed: int, record: logging.LogRecord, now: float) -> _Tally:
        if key not in self._tallies:
            if len(self._tallies) >= MOST_KINDS:
                self._write_ended(next(iter(self._tallies.values())).ends_at)
            self._tallies[key] = _Tally(now + WINDOW_SECONDS, allowed, record)
        return self._tallies[key]

    def _write_ended(self, now: float) -> None:
        while self._tallies:
            key, tally = next(iter(self._tallies.items()))
            if tally.ends_at > now:
                return
            del self._tallies[key]
            if tally.count:
                super().emit(_counted(tally.last, tally.count))


def _line(record: logging.LogRecord) -> Hashable:
    """Return the content of a line without the parts that always differ. structlog's lines are dictionaries."""
    if isinstance(record.msg, dict):
        said: Any = tuple((name, repr(value)) for name, value in record.msg.items() if name not in _VOLATILE)
    else:
        said = record.getMessage()
    return "line", record.name, record.levelno, said


def _text(record: logging.LogRecord) -> Hashable:
    return "text", record.name, record.levelno, record.msg.get("event") if isinstance(record.msg, dict) else record.msg


def _counted(record: logging.LogRecord, times: int) -> logging.LogRecord:
    record = copy.copy(record)
    record.exc_info = record.exc_text = None
    if isinstance(record.msg, dict):
        record.msg = {name: value for name, value in record.msg.items() if name != "exc_info"} | {"repeated": times}
    else:
        record.msg, record.args = f"{record.getMessage()} (repeated {times} times)", ()
    return record
