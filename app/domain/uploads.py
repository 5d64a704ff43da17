"""Results of agents that pull, as far as they have come in: the parts of an upload that is not complete.

A result may come in one call, or in several, each of which appends to what is there (`Upload-Offset`). What a call has
brought is a part, also if the call broke off. The parts of a task are removed with the task, when it is delivered or
cancelled, and if the whole does not fit its digest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.domain.errors import LimitReached
from tcsfeel.errors import Invalid, TcsFeelError

MOST_PARTS = 4096  # of one upload: each costs a file and a row
LEAST_PART_BYTES = 1 << 16  # that are worth a file when a call breaks off
BUSY_SECONDS = 30.0  # after which an agent tries again that found no room


@dataclass(frozen=True, slots=True)
class UploadPart:
    """What one call has brought of the result of a task.

    Attributes:
        begins: at which byte of the result it begins.
        size: how many bytes it has, 1 or more.
        sha256: the name of the file of the model store that has them.
        seconds: how long they took to come in.
    """

    task_id: str
    client_id: str
    begins: int
    size: int
    sha256: str
    seconds: float

    @property
    def ends(self) -> int:
        """The byte after its last one."""
        return self.begins + self.size


def offset_of(parts: Sequence[UploadPart]) -> int:
    """Return how many bytes of a result are there; `parts` are in their order."""
    return parts[-1].ends if parts else 0


class Room(NamedTuple):
    """How many further bytes of an unfinished upload there is room for, and the setting that leaves no more.

    The upload is `alone` if nothing but it takes that room, so that waiting brings no more.
    """

    size: int
    limit: str
    alone: bool

    def refusal(self) -> Exception:
        """Return the error for an upload that needs more."""
        if self.alone:
            name = f"TCSFEEL_LIMITS__{self.limit.upper()}"
            return Invalid("", f"the result has more bytes than {name} allows in parts: send it by PUT, in one call")
        sentence = f"there is room for {self.size} further bytes of unfinished uploads: send this again later"
        return LimitReached(self.limit, sentence, retry_after=BUSY_SECONDS)


class WrongOffset(TcsFeelError):
    """A call wants to append at another byte than the one at which an upload ends. `offset` is where it ends."""

    def __init__(self, sent: int, offset: int) -> None:
        super().__init__(f"Upload-Offset is {sent}, and {offset} bytes of the result are here: go on from there")
        self.sent = sent
        self.offset = offset
