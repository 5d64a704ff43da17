"""Define the answers of agents to calls about tasks."""

from dataclasses import dataclass
from typing import Literal

import httpx2

from app.domain.rounds import Evidence
from app.store.model_store import StoredFile
from tcsfeel.wire.compression import IDENTITY

Answer = Literal["result", "working", "unknown", "cancelled", "raised", "busy", "lacking"]

ANSWERS: dict[int, Answer] = {
    200: "result",
    202: "working",
    404: "unknown",
    410: "cancelled",
    409: "busy",
    429: "busy",
}
EXPECTED = "200, 202, 404, 409, 410, 429 or 500"
"""The statuses that an agent may answer, as reasons name them."""
MAX_RETRY_AFTER = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of an agent to a call about a task.

    Attributes:
        file: the body of a result, as it came.
        coding: the content coding that it is in.
        seconds: how long the body took to come in.
        detail: what an agent said of an exception in its trainer.
        passing: whether another try may come out otherwise.
        traceback: the last lines of the traceback of that exception.
        retry_after: seconds after which a busy agent wants to be asked again.
        evidence: the signatures of a result, if the agent has a key.
    """

    answer: Answer
    file: StoredFile | None = None
    coding: str = IDENTITY
    seconds: float = 0.0
    detail: str = ""
    passing: bool = True
    traceback: str | None = None
    retry_after: float | None = None
    evidence: Evidence | None = None


def coding_of(response: httpx2.Response) -> str:
    """Read the content coding of a body."""
    coding: str = response.headers.get("Content-Encoding", IDENTITY)
    return coding.strip().lower()


def retry_after(response: httpx2.Response) -> float | None:
    """Read after how many seconds a busy agent wants to be asked again, or None if it does not say."""
    try:
        return min(MAX_RETRY_AFTER, max(0.0, float(response.headers["Retry-After"])))
    except (KeyError, ValueError):
        return None
