"""Somebody else's agent, and uploads that our own would never send."""

from collections.abc import Callable, Mapping

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain.trainings import Uploads
from tcsfeel.agent import Parameters, Task
from tcsfeel.wire.codec import decode, encode
from tcsfeel.wire.compression import compressed
from tcsfeel.wire.tasks import TaskResult, read_task, result_metadata
from tcsfeel.wire.tasks import UpdateEncoding as Encoding
from tests.planes import Plane

STEP = 127 / 128  # whose 127th a float32 holds exactly
RESULT = TaskResult(num_examples=10, loss=1.0, accuracy=0.5)
INT8 = Uploads(encoding="int8")
BOTH = Uploads(encoding="int8", compression="zstd")

Answer = Callable[[Parameters, Task], tuple[bytes, Mapping[str, str]]]


class Foreign:
    """Somebody else's agent: it answers at once what the test says, and looks at nothing that it was offered."""

    def __init__(self, answer: Answer, *, evaluation: bytes | None = None) -> None:
        self._answer = answer
        self._evaluation = encode({}, result_metadata(RESULT)) if evaluation is None else evaluation
        self.tasks: list[Task] = []
        self.accepted: list[str | None] = []
        self.forgotten: list[str] = []

    async def respond(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = Response(status_code=204)
        if path == "/model":
            response = Response(encode({"w": np.zeros(3, np.float32)}))
        if request.method == "DELETE":
            self.forgotten.append(path)
        if request.method == "PUT":
            parameters, metadata = decode(await request.body())
            task = read_task(metadata)
            self.tasks.append(task)
            self.accepted.append(request.headers.get("accept-encoding"))
            body, headers = self._evaluation, dict[str, str]()
            if task.kind == "fit":
                body, headers = self._answer(parameters, task)  # type: ignore[assignment]  # a mapping does as well
            response = Response(body, headers=headers)
        await response(scope, receive, send)

    def close(self) -> None:
        """Nothing to end."""


def join(running: Plane, client_id: str, foreign: Foreign) -> None:
    """Put somebody else's agent in the place of one of ours."""
    running.host._agents[client_id] = foreign  # type: ignore[assignment]  # it answers like one


def zstd(body: bytes) -> bytes:
    return b"".join(compressed(iter([body])))


def encoded(parameters: Parameters, encoding: Encoding, result: TaskResult = RESULT) -> bytes:
    return encode(parameters, result_metadata(result, encoding))


CODES: Parameters = {"w": np.array([127, 127, 127], np.int8)}
SCALES = {"w": 1 / 128}
HONEST = encoded(CODES, Encoding(name="int8", scales=SCALES))
