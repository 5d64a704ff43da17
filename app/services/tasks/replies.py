"""Define the answers of agents to calls about tasks."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from app.domain.rounds import Evidence
from app.services.tasks.responses import Response
from app.store.model_store import StoredFile
from tcsfeel.wire.compression import IDENTITY

Answer = Literal["result", "working", "unknown", "cancelled", "raised", "busy", "lacking", "offered"]

ANSWERS: dict[int, Answer] = {
    200: "result",
    202: "working",
    404: "unknown",
    410: "cancelled",
    409: "busy",
    429: "busy",
}
_EXPECTED = "200, 202, 404, 409, 410, 429 or 500"
_STATUSES = frozenset(HTTPStatus)
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
        sent: how many bytes of bodies an agent that pulls was sent for this task until now.
        worked: how many seconds such an agent had the task.
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
    sent: int | None = None
    worked: float | None = None


def coding_of(response: Response) -> str:
    """Read the content coding of a body."""
    return response.header("Content-Encoding").strip().lower() or IDENTITY


def retry_after(response: Response) -> float | None:
    """Read after how many seconds a busy agent wants to be asked again, or None if it does not say."""
    try:
        return min(MAX_RETRY_AFTER, max(0.0, float(response.header("Retry-After"))))
    except ValueError:
        return None


def unexpected(status: int) -> str:
    """Say that an agent answered a status that means nothing here."""
    phrase = HTTPStatus(status).phrase if status in _STATUSES else ""
    return f"the agent answered {status} {phrase}".rstrip() + f", expected {_EXPECTED}"
