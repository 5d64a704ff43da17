"""Collect the pieces of an answer while it is read, up to limits of size and time."""

import time

from tcsfeel.rest.exchange import Answer, Attempt, Head, Writer
from tcsfeel.rest.problems import NoAnswer, UnexpectedAnswer

IDENTITY = "identity"  # the encoding of an answer that is as it is
MOST_REFUSAL_BYTES = 1_000_000


def encoding_of(head: Head) -> str:
    """Return the content encoding of an answer."""
    return head.headers.get("Content-Encoding", IDENTITY)


class Collected:
    """Collects the pieces of an answer, up to `most_bytes`.

    The caller may replace the network by one that knows no time limit for a whole answer. So the time is checked here
    as well: the last piece has to arrive before `give_up_at` on the clock `time.monotonic`, if that is given.
    """

    def __init__(self, head: Head, request: Attempt, most_bytes: int, give_up_at: float | None) -> None:
        receiver = request.request.receiver
        self._head = head
        self._pieces: list[bytes] = []
        self._size = 0
        self._most_bytes = most_bytes if head.is_success else min(most_bytes, MOST_REFUSAL_BYTES)
        self._give_up_at = give_up_at
        self.is_complete = not head.is_success and encoding_of(head) != IDENTITY  # a refusal is its status above all
        self._write: Writer = receiver(head) if receiver and head.is_success else self._keep

    def take(self, piece: bytes) -> None:
        if self._give_up_at is not None and time.monotonic() > self._give_up_at:
            raise NoAnswer("the answer took too long to arrive")
        self._write(piece)

    def answer(self) -> Answer:
        return Answer(self._head.status, self._head.headers, b"".join(self._pieces))

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._most_bytes:
            self._pieces.append(piece)
        elif self._head.is_success:
            raise UnexpectedAnswer(f"the answer has more than {self._most_bytes} bytes")
        else:
            self.is_complete = True
