"""The body of a task as it is sent, with its digest."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from app.services.tasks.blocks import BLOCK_BYTES
from app.store.model_store import StoredFile
from app.threads import in_thread
from app.turns import Turns
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.tasks import Task

_SENT_BYTES = 1 << 20  # of a body in one turn: what the system takes of it at once is some 0.3 ms
MOVED_BYTES = 1 << 16  # that the system does not take of a dead link for long
_HASHED_AT_ONCE = BLOCK_BYTES  # that the event loop hashes in 0.6 ms; a switch to a thread and back takes 0.2 ms more


@dataclass(frozen=True, slots=True)
class Origin:
    """What the body of a task was made from: the task, and the tensors that come with it.

    `file` is the file of the model store that has these tensors and nothing else; None if there is none.
    """

    task: Task
    model: Packed
    file: StoredFile | None = None


@dataclass(slots=True)
class TaskBody:
    """A header and the block of a model. They are hashed once, however often they are sent; `sha256` is known then.

    A body that waits in the mailbox is made again when its agent asks for it, from its `origin`.
    """

    header: bytes
    block: memoryview
    origin: Origin | None = field(default=None, repr=False)
    sha256: str = field(default="", init=False, repr=False)
    _digest: str = field(default="", init=False, repr=False)

    def __len__(self) -> int:
        return len(self.header) + len(self.block)

    async def digest(self) -> str:
        """Return the value of its ``Content-Digest``."""
        if not self.sha256:
            pieces = (self.header, self.block)
            found = digest_of(pieces) if len(self) <= _HASHED_AT_ONCE else await in_thread("checks", digest_of, pieces)
            self.sha256, self._digest = found.hex(), written_digest(found)
        return self._digest


class Sent:
    """A body as it is sent, or its bytes from `begins` to `ends`.

    `moved` is called for each large piece that was taken. It is sent again if a kept connection turns out to be closed.
    """

    def __init__(
        self,
        body: TaskBody,
        turns: Turns,
        begins: int = 0,
        ends: int | None = None,
        *,
        moved: Callable[[], object] = lambda: None,
    ) -> None:
        self._moved = moved
        self._body = body
        self._turns = turns
        self._begins = begins
        self._ends = len(body) if ends is None else ends

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        header, block = self._body.header, self._body.block
        if beginning := header[self._begins : self._ends]:
            yield beginning
        first, last = max(0, self._begins - len(header)), max(0, self._ends - len(header))
        for start in range(first, last, _SENT_BYTES):
            if start > first:  # the call has just taken one
                await self._turns.take()
            end = min(start + _SENT_BYTES, last)
            yield block[start:end]
            if end - start >= MOVED_BYTES:
                self._moved()
