"""The body of a task as it is sent, with its digest."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.threads import in_thread
from app.turns import Turns
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.tasks import Task

_SENT_BYTES = 1 << 20  # of a body in one turn: what the system takes of it at once is some 0.3 ms
_HASHED_AT_ONCE = 1 << 16  # bytes that the event loop hashes; a thread hashes more


@dataclass(frozen=True, slots=True)
class Origin:
    """What the body of a task was made from: the task, and the tensors that come with it."""

    task: Task
    model: Packed


@dataclass(slots=True)
class TaskBody:
    """A header and the block of a model. They are hashed once, however often they are sent.

    A body that waits in the mailbox is made again when its agent asks for it, from its `origin`.
    """

    header: bytes
    block: memoryview
    origin: Origin | None = field(default=None, repr=False)
    _digest: str = field(default="", init=False, repr=False)

    def __len__(self) -> int:
        return len(self.header) + len(self.block)

    async def digest(self) -> str:
        """Return the value of its ``Content-Digest``."""
        if not self._digest:
            pieces = (self.header, self.block)
            found = digest_of(pieces) if len(self) <= _HASHED_AT_ONCE else await in_thread("checks", digest_of, pieces)
            self._digest = written_digest(found)
        return self._digest


class Sent:
    """A body as it is sent. It is sent again if a kept connection turns out to be closed."""

    def __init__(self, body: TaskBody, turns: Turns) -> None:
        self._body = body
        self._turns = turns

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        yield self._body.header
        for start in range(0, len(self._body.block), _SENT_BYTES):
            await self._turns.take()
            yield self._body.block[start : start + _SENT_BYTES]
