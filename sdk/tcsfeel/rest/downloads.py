"""Receive a body into memory, and go on where it broke off."""

import random
from collections.abc import Mapping

from tcsfeel.rest.exchange import Head, Pause, Request, Steps, Writer
from tcsfeel.rest.problems import NoAnswer, Refused, Unavailable, UnexpectedAnswer
from tcsfeel.wire.resuming import read_content_range, read_offset, strong_etag

TRIES = 6  # one after the other that bring less than `LEAST_BYTES`
LEAST_BYTES = 1 << 16
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0
_PART = 206


class Download:
    """A body of at most `most` bytes.

    Attributes:
        headers: those of the answer that the body began with.
    """

    def __init__(self, most: int) -> None:
        self.headers: Mapping[str, str] = {}
        self._most = most
        self._memory = bytearray()

    @property
    def body(self) -> memoryview:
        """What has come, read-only."""
        return memoryview(self._memory).toreadonly()

    @property
    def can_go_on(self) -> bool:
        """Tell whether the rest of the body can be asked for."""
        return bool(strong_etag(self.headers.get("ETag", "")) and self._size)

    def position(self) -> int:
        """Return how many bytes have come."""
        return len(self._memory)

    def receiver(self, head: Head) -> Writer:
        """Begin with the body of an answer."""
        self.headers = head.headers
        self._memory.clear()
        return self._write

    def whole(self, where: str, headers: Mapping[str, str]) -> Steps[None]:
        """Ask for a body at a path, and go on where it breaks off. Raises the errors of `rest`, and a refusal."""
        try:
            yield Request(
                "GET", where, headers=headers, repeatable=True, receiver=self.receiver, position=self.position
            )
        except NoAnswer:
            if not self.can_go_on:
                raise
            yield from self.rest(where, headers)

    def rest(self, where: str, headers: Mapping[str, str]) -> Steps[None]:
        """Ask at a path for the bytes that are missing, until all of them are there.

        Raises:
            NoAnswer: too little has come in several tries, or the server has another body by now.
        """
        failures = 0
        while (has := len(self._memory)) < self._size:
            said = {**headers, "Range": f"bytes={has}-", "If-Match": self.headers["ETag"]}
            try:
                yield Request("GET", where, headers=said, receiver=self._go_on)
            except (NoAnswer, Unavailable) as error:
                failures = 0 if len(self._memory) - has >= LEAST_BYTES else failures + 1
                if failures >= TRIES:
                    raise
                pause = _pause(failures, error)
            except Refused as error:
                raise NoAnswer(f"the rest of the body cannot be had any more: {error}") from error
            else:
                continue
            yield Pause(pause)

    @property
    def _size(self) -> int:
        return read_offset(self.headers.get("Content-Length", "")) or 0

    def _go_on(self, head: Head) -> Writer:
        found = read_content_range(head.headers.get("Content-Range", ""))
        same = head.headers.get("ETag") == self.headers["ETag"]
        if head.status != _PART or found is None or found[0] != len(self._memory) or not same:
            raise UnexpectedAnswer("the answer has another part of the body than the one that was asked for")
        return self._write

    def _write(self, piece: bytes) -> None:
        if len(self._memory) + len(piece) > self._most:
            raise UnexpectedAnswer(f"the task has more than {self._most} bytes: allow larger ones to take it")
        self._memory.extend(piece)


def _pause(failures: int, error: NoAnswer | Unavailable) -> float:
    usual: float = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**failures)
    usual *= random.uniform(0.5, 1)  # noqa: S311  (spreads callers; guards nothing)
    return max(usual, (isinstance(error, Unavailable) and error.retry_after) or 0.0)
