"""The answers of the agent protocol: problem details, small JSON, and parameters that are sent without copying."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus

from tcsfeel.agent.asgi import Receive, Response, Scope, Send
from tcsfeel.agent.results import Payload
from tcsfeel.errors import Picklable
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.compression import ZSTD, compressed
from tcsfeel.wire.sizes import ERROR_BYTES

_CHUNK = 256 * 1024  # bytes that are copied at a time; below it, a whole answer goes out in one write
_DETAIL = 1000  # characters of a detail in a body that would be too large

BROKEN_TRAINER = "urn:tcsfeel:problem:broken-trainer"


class Problem(Picklable):
    """An error as an answer. It is raised where the error is found, and sent as ``application/problem+json``.

    `broken_trainer` means that the trainer has a mistake, so that another try of the same task would not help.
    `traceback` has the last lines of the traceback of an exception in the trainer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        headers: Mapping[str, str] | None = None,
        *,
        broken_trainer: bool = False,
        traceback: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.broken_trainer = broken_trainer
        self.traceback = traceback

    def response(self) -> Response:
        return Response(self.status, self.body(), "application/problem+json", self.headers)

    def body(self) -> bytes:
        """Return the document in at most `ERROR_BYTES`. The first lines of the traceback are left out first."""
        lines = [] if self.traceback is None else self.traceback.splitlines()
        body = self._document(self.detail, lines)
        while len(body) > ERROR_BYTES and lines:
            lines = lines[1:]
            body = self._document(self.detail, lines)
        return body if len(body) <= ERROR_BYTES else self._document(self.detail[:_DETAIL], lines)

    def _document(self, detail: str, lines: Sequence[str]) -> bytes:
        body: dict[str, object] = {"type": "about:blank", "title": self.status.phrase}
        if self.broken_trainer:
            body = {"type": BROKEN_TRAINER, "title": "The trainer is broken", "retry": False}
        body |= {"status": self.status, "detail": detail}
        if lines:
            body["traceback"] = "\n".join(lines)
        # An escape is six bytes for a letter of two or three. Half of a surrogate pair has no bytes: it becomes "?".
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


class ParametersResponse:
    """200 with a complete parameter file."""

    def __init__(self, payload: Payload) -> None:
        self._header, self._block = payload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        size = len(self._header) + len(self._block)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
        body = self._header
        if size <= _CHUNK:
            body += self._block
        else:
            for start in range(0, len(self._block), _CHUNK):
                await send({"type": "http.response.body", "body": body, "more_body": True})
                body = bytes(self._block[start : start + _CHUNK])
        await send({"type": "http.response.body", "body": body, "more_body": False})


class CompressedResponse:
    """200 with a complete parameter file in zstd, compressed as it is sent, in a thread."""

    def __init__(self, payload: Payload) -> None:
        self._header, self._block = payload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-encoding", ZSTD.encode())]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
        frame = compressed(self._pieces())
        while (piece := await asyncio.to_thread(next, frame, None)) is not None:
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _pieces(self) -> Iterator[bytes | memoryview]:
        yield self._header
        for start in range(0, len(self._block), _CHUNK):
            yield self._block[start : start + _CHUNK]


def status_response(status: HTTPStatus, word: str) -> Response:
    return Response(status, b'{"status":"%s"}' % word.encode(), "application/json")
