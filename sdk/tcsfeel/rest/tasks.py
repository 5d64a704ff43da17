"""Ask for the tasks of an agent that pulls, and deliver their results.

Both go on after a connection was lost: the rest of a task is asked for by its range, and a result is sent in parts,
each from where the one before has ended.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tcsfeel.rest.calls import HOLD_SECONDS
from tcsfeel.rest.downloads import Download
from tcsfeel.rest.exchange import Answer, Request, Steps
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import NoAnswer, UnexpectedAnswer
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.digests import CONTENT_DIGEST, REPR_DIGEST, digest_of, read_digest, written_digest
from tcsfeel.wire.resuming import NO, PARTIAL_UPLOAD, UPLOAD_COMPLETE, UPLOAD_OFFSET, YES, part_of, read_offset

TASK = "Tcsfeel-Task"
UNWANTED = "Tcsfeel-Unwanted"
PROBLEM = "application/problem+json"
MOST_TASK_BYTES = 4 * 1024**3
LONGEST_PAUSE = 3600.0  # seconds that a server may ask an agent to stay away
_NO_TASK = 204
_PIECE = 1 << 18
_SHA_256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NextTask:
    """What the control plane answers an agent that asks for a task.

    Attributes:
        task_id: the id of the task; empty if there is none.
        body: the parameters of the task, which is in their metadata.
        headers: the headers of the answer.
        retry_after: seconds after which the agent should ask again, if there is no task.
        unwanted: those of the tasks that the agent knows that are no longer wanted.
    """

    task_id: str = ""
    body: memoryview = field(default=memoryview(b""), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    retry_after: float = 0.0
    unwanted: tuple[str, ...] = ()


def next_task(
    client_id: str,
    *,
    wait: float = HOLD_SECONDS,
    known: Collection[str] = (),
    instance: str | None = None,
    max_bytes: int = MOST_TASK_BYTES,
    headers: Mapping[str, str] | None = None,
) -> Steps[NextTask]:
    """Ask for the next task of a client whose agent pulls, and wait for one for up to `wait` seconds.

    Args:
        client_id: the client.
        wait: seconds; the server may answer earlier.
        known: the ids of tasks that the agent has, which are not sent again.
        instance: a text that is new at each start of the agent.
        max_bytes: the most that a task may have.
        headers: further headers of the request.

    Raises:
        UnexpectedAnswer: the task is longer, or it was corrupted on the way.
    """
    download = Download(max_bytes)
    params = [("wait", f"{wait:g}"), *(("known", task_id) for task_id in sorted(known))]
    asked = {"Accept": MEDIA_TYPE, **(headers or {})}
    try:
        answer: Answer = yield Request(
            "GET",
            path("/v1/clients/{client_id}/tasks/next", client_id),
            params=params if instance is None else [*params, ("instance", instance)],
            headers=asked,
            repeatable=True,
            wait_seconds=wait,
            receiver=download.receiver,
            position=download.position,
        )
    except NoAnswer:
        task_id = download.headers.get(TASK, "")
        if not task_id or not download.can_go_on:
            raise
        yield from download.rest(path("/v1/clients/{client_id}/tasks/{task_id}", client_id, task_id), asked)
    else:
        if answer.status == _NO_TASK:
            unwanted = answer.headers.get(UNWANTED, "").replace(" ", "")
            return NextTask(
                retry_after=_seconds(answer.headers.get("Retry-After", "")),
                unwanted=tuple(filter(None, unwanted.split(","))),
            )
    expected = read_digest(download.headers.get(CONTENT_DIGEST, ""))
    return _whole(download, expected, CONTENT_DIGEST)


def get_task(
    client_id: str, task_id: str, *, max_bytes: int = MOST_TASK_BYTES, headers: Mapping[str, str] | None = None
) -> Steps[NextTask]:
    """Download the body of a task once more that its agent was sent last, and go on where it breaks off.

    `next_task` does this by itself for a body that broke off. Raises the same errors, and those of a task that is not
    wanted any more.
    """
    download, where = Download(max_bytes), path("/v1/clients/{client_id}/tasks/{task_id}", client_id, task_id)
    yield from download.whole(where, {"Accept": MEDIA_TYPE, **(headers or {})})
    etag = download.headers.get("ETag", "").strip('"')
    return _whole(download, bytes.fromhex(etag) if _SHA_256.fullmatch(etag) else None, "ETag")


def _whole(download: Download, expected: bytes | None, name: str) -> NextTask:
    """Return a task that has come as a whole. Raises `UnexpectedAnswer` if it is not what the header `name` says."""
    if expected is not None and digest_of([download.body]) != expected:
        raise UnexpectedAnswer(f"the task does not fit its {name}: it was corrupted on the way")
    return NextTask(download.headers.get(TASK, ""), download.body, download.headers)


def put_result(
    client_id: str, task_id: str, body: Sequence[bytes | memoryview], *, headers: Mapping[str, str] | None = None
) -> Steps[None]:
    """Deliver the result of a task: the pieces of a parameter file, with its result in the metadata.

    `headers` may name another media type (for a problem document), a content coding, and a signature.
    """
    described = {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(sum(map(len, body))),
        CONTENT_DIGEST: written_digest(digest_of(body)),
        **(headers or {}),
    }
    where = path("/v1/clients/{client_id}/tasks/{task_id}/result", client_id, task_id)
    yield Request("PUT", where, headers=described, body=sliced(body), repeatable=True)


@dataclass(frozen=True, slots=True)
class ResultProgress:
    """How far the result of a task has come in: `offset` bytes of it, or all of it if it is `complete`."""

    offset: int
    complete: bool


def result_progress(client_id: str, task_id: str, *, headers: Mapping[str, str] | None = None) -> Steps[ResultProgress]:
    """Ask how many bytes of the result of a task have arrived. Raises `UnexpectedAnswer` if the answer does not say."""
    where = path("/v1/clients/{client_id}/tasks/{task_id}/result", client_id, task_id)
    answer: Answer = yield Request("HEAD", where, headers=headers or {}, repeatable=True)
    return _progress(answer)


def append_result(
    client_id: str,
    task_id: str,
    body: Sequence[bytes | memoryview],
    *,
    offset: int,
    size: int,
    headers: Mapping[str, str] | None = None,
) -> Steps[ResultProgress]:
    """Append `size` bytes of the result of a task, from the byte `offset` on, to those that have arrived.

    `body` has the pieces of the whole result. A result that ends with these bytes is delivered. `headers` may name its
    digest (``Repr-Digest``), its content coding and its signature. The call is not repeated: after a lost connection,
    ask by `result_progress` where to go on.

    Raises:
        Conflict: the result ends at another byte, or the task has another result.
    """
    part = part_of(body, offset, size)
    described = {
        "Content-Type": PARTIAL_UPLOAD,
        "Content-Length": str(sum(map(len, part))),
        UPLOAD_OFFSET: str(offset),
        UPLOAD_COMPLETE: YES if offset + size >= sum(map(len, body)) else NO,
    }
    if REPR_DIGEST not in (headers or {}):
        described[REPR_DIGEST] = written_digest(digest_of(body))
    where = path("/v1/clients/{client_id}/tasks/{task_id}/result", client_id, task_id)
    answer: Answer = yield Request("PATCH", where, headers={**described, **(headers or {})}, body=sliced(part))
    return _progress(answer)


def _progress(answer: Answer) -> ResultProgress:
    offset = read_offset(answer.headers.get(UPLOAD_OFFSET, ""))
    if offset is None:
        raise UnexpectedAnswer(f"the answer has no {UPLOAD_OFFSET}, so nothing tells how much of the result arrived")
    return ResultProgress(offset, answer.headers.get(UPLOAD_COMPLETE, "") == YES)


def sliced(body: Iterable[bytes | memoryview]) -> Callable[[], Iterator[bytes]]:
    """Make the body of a request, whose pieces are sent a part at a time."""

    def pieces() -> Iterator[bytes]:
        for part in body:
            for start in range(0, len(part), _PIECE):
                yield bytes(part[start : start + _PIECE])

    return pieces


def _seconds(text: str) -> float:
    """Read the value of ``Retry-After`` in seconds."""
    return min(float(text), LONGEST_PAUSE) if text.isascii() and text.isdigit() else 0.0
