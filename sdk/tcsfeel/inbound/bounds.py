"""Define the limits of connections: time, bytes and places."""

import math
import os
from dataclasses import dataclass

MOST_PLACES = 10_000
FEWEST_PLACES = 16


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of every connection of one server, in seconds and bytes.

    Attributes:
        places: the most connections at the same time.
        head_seconds: the time for a head, from the beginning of the connection or the first byte of a further request.
        grace_seconds: how long a body may pause while the server waits for it.
        body_rate: the bytes per second that a body has to bring on average beyond that pause.
        stall_seconds: how long a caller may read nothing of an answer.
        answer_rate: the bytes per second of an answer that a caller has to read on average beyond that pause.
        linger_seconds: how long a caller that was disconnected has to read its answer.
        refusals_per_second: how many refusals callers from one address get; further refusals wait.
    """

    places: int = 512
    head_seconds: float = 10.0
    grace_seconds: float = 30.0
    body_rate: float = 4096.0
    stall_seconds: float = 60.0
    answer_rate: float = 4096.0
    linger_seconds: float = 1.0
    refusals_per_second: float = math.inf

    @property
    def stranger_places(self) -> int:
        """Return how many of the places are for callers that have not shown a key."""
        return max(1, self.places // 4)

    @property
    def kept_places(self) -> int:
        """Return how many of the places for callers with a key devices leave to people and programs."""
        return max(1, (self.places - self.stranger_places) // 16)

    @property
    def backlog(self) -> int:
        """Return how many connections the kernel keeps waiting; one turn of the loop accepts as many."""
        return max(1, min(128, self.places // 4))


def places() -> int:
    """Return half of the process's limit of descriptors. The other half is for files, databases and agents."""
    descriptors = os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else 2 * MOST_PLACES
    return max(FEWEST_PLACES, min(MOST_PLACES, descriptors // 2))
