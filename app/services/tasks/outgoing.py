"""The rest of a task for an agent that has a part of it, after a call that broke off."""

from http import HTTPStatus
from typing import NamedTuple

from app.services.tasks.answers import AgentFailed, Answer
from app.services.tasks.bodies import TaskBody
from app.services.tasks.requests import LONG_BYTES
from app.services.tasks.resuming import LEAST_BYTES, TRIES
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.digests import CONTENT_DIGEST, REPR_DIGEST
from tcsfeel.wire.resuming import NO, PARTIAL_UPLOAD, UPLOAD_COMPLETE, UPLOAD_OFFSET, YES, read_offset


class Arrived(NamedTuple):
    """How much of a task has arrived at its agent; `complete` says that the agent has the task."""

    offset: int
    complete: bool


def arrived(answer: Answer) -> Arrived | None:
    """Read the answer of an agent that was asked by `HEAD`; None if it does not say, or has nothing."""
    response = answer.response
    if response.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        return None
    complete = response.header(UPLOAD_COMPLETE)
    offset = read_offset(response.header(UPLOAD_OFFSET))
    if complete == YES:
        return Arrived(offset or 0, complete=True)
    return None if offset is None or complete != NO else Arrived(offset, complete=False)


def arrived_elsewhere(answer: Answer) -> bool:
    """Tell whether an agent refused the rest of a task because it has another part by now."""
    return answer.response.status == HTTPStatus.CONFLICT and bool(answer.response.header(UPLOAD_OFFSET))


class Course:
    """How far a task has come to its agent that is sent in several calls, because they broke off.

    Attributes:
        offset: the byte with which the next call begins.
        arrived: whether the agent has the task.
    """

    def __init__(self, size: int) -> None:
        self.offset = 0
        self.arrived = False
        self.is_short = size < LONG_BYTES
        self._size = size
        self._furthest = 0
        self._stalls = 0

    def advance(self, there: Arrived | None, lost: AgentFailed) -> None:
        """Go on where the task has arrived. An agent that has nothing of it gets it once more.

        What an agent has lost and gets again does not count. Raises `lost` if calls bring too little.
        """
        offset = 0 if there is None else there.offset
        self._stalls = 0 if offset - self._furthest >= LEAST_BYTES else self._stalls + 1
        if self._stalls >= (2 if there is None else TRIES) or offset > self._size:
            raise lost
        self._furthest = max(self._furthest, offset)
        self.offset, self.arrived = offset, there is not None and there.complete


def headers_of(body: TaskBody, digest: str, offset: int, accept: str) -> tuple[str, dict[str, str]]:
    """Return the method and the headers of the call that brings a task, or its rest from the byte `offset` on."""
    said = {"Content-Length": str(len(body) - offset), "Accept-Encoding": accept}
    if not offset:
        return "PUT", {"Content-Type": MEDIA_TYPE, CONTENT_DIGEST: digest, **said}
    upload = {UPLOAD_OFFSET: str(offset), UPLOAD_COMPLETE: YES, REPR_DIGEST: digest}
    return "PATCH", {"Content-Type": PARTIAL_UPLOAD, **upload, **said}
