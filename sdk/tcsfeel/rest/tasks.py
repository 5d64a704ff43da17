"""Ask for the tasks of an agent that pulls, and deliver their results."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tcsfeel.rest.calls import HOLD_SECONDS
from tcsfeel.rest.exchange import Answer, Head, Request, Steps, Writer
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import UnexpectedAnswer
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, read_digest, written_digest

TASK = "Tcsfeel-Task"
UNWANTED = "Tcsfeel-Unwanted"
PROBLEM = "application/problem+json"
MOST_TASK_BYTES = 4 * 1024**3
LONGEST_PAUSE = 3600.0  # seconds that a server may ask an agent to stay away
_NO_TASK = 204
_PIECE = 1 << 18


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
    memory = bytearray()
    params = [("wait", f"{wait:g}"), *(("known", task_id) for task_id in sorted(known))]
    answer: Answer = yield Request(
        "GET",
        path("/v1/clients/{client_id}/tasks/next", client_id),
        params=params if instance is None else [*params, ("instance", instance)],
        headers={"Accept": MEDIA_TYPE, **(headers or {})},
        repeatable=True,
        wait_seconds=wait,
        receiver=lambda head: _receiver(head, memory, max_bytes),
    )
    if answer.status == _NO_TASK:
        unwanted = answer.headers.get(UNWANTED, "").replace(" ", "")
        return NextTask(
            retry_after=_seconds(answer.headers.get("Retry-After", "")),
            unwanted=tuple(filter(None, unwanted.split(","))),
        )
    expected = read_digest(answer.headers.get(CONTENT_DIGEST, ""))
    if expected is not None and digest_of([memoryview(memory)]) != expected:
        raise UnexpectedAnswer(f"the task does not fit its {CONTENT_DIGEST}: it was corrupted on the way")
    return NextTask(answer.headers.get(TASK, ""), memoryview(memory).toreadonly(), answer.headers)


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
    yield Request("PUT", where, headers=described, body=_sliced(body), repeatable=True)


def _receiver(head: Head, memory: bytearray, most: int) -> Writer:
    del head
    memory.clear()

    def write(piece: bytes) -> None:
        if len(memory) + len(piece) > most:
            raise UnexpectedAnswer(f"the task has more than {most} bytes: allow larger ones to take it")
        memory.extend(piece)

    return write


def _sliced(body: Iterable[bytes | memoryview]) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        for part in body:
            for start in range(0, len(part), _PIECE):
                yield bytes(part[start : start + _PIECE])

    return pieces


def _seconds(text: str) -> float:
    """Read the value of ``Retry-After`` in seconds."""
    return min(float(text), LONGEST_PAUSE) if text.isascii() and text.isdigit() else 0.0
