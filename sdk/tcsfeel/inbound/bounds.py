"""What a connection may take: time, bytes and places."""

import os
from dataclasses import dataclass

MOST_PLACES = 10_000
FEWEST_PLACES = 16


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of every connection of one server, in seconds and bytes.

    Attributes:
        places: how many connections there are at the same time.
        head_seconds: from a connection's begin, or from a further request's first byte, to the end of its head.
        grace_seconds: that a body may pause, while the server waits for it.
        body_rate: bytes per second that a body has to bring on average beyond that.
        stall_seconds: that a caller may take in nothing of an answer.
        answer_rate: bytes per second of an answer that a caller has to take in on average beyond that.
        linger_seconds: that a caller who was cut off has to read its answer.
    """

    places: int = 512
    head_seconds: float = 10.0
    grace_seconds: float = 30.0
    body_rate: float = 4096.0
    stall_seconds: float = 60.0
    answer_rate: float = 4096.0
    linger_seconds: float = 1.0

    @property
    def stranger_places(self) -> int:
        """How many of the places are for callers that have not shown a key."""
        return max(1, self.places // 4)

    @property
    def backlog(self) -> int:
        """How many connections the kernel keeps waiting, which is also how many one turn of the loop accepts."""
        return max(1, min(128, self.places // 4))


def places() -> int:
    """Half of the descriptors that this process may have: the other half is for files, databases and agents."""
    descriptors = os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else 2 * MOST_PLACES
    return max(FEWEST_PLACES, min(MOST_PLACES, descriptors // 2))
