"""The answers of the agent protocol: problem details, small JSON, and parameters that are sent without copying."""

import asyncio
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType

from tcsfeel.agent.asgi import Receive, Response, Scope, Send, encoded
from tcsfeel.agent.results import Payload
from tcsfeel.errors import Picklable
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.compression import ZSTD, compressed
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.sizes import ERROR_BYTES

_CHUNK = 256 * 1024  # bytes that are copied at a time; below it, a whole answer goes out in one write
_DETAIL = 1000  # characters of a detail in a body that would be too large

BROKEN_TRAINER = "urn:tcsfeel:problem:broken-trainer"


class Problem(Picklable):
    """An error as an answer. It is raised where the error is found, and sent as ``application/problem+json``.

    `broken_trainer` means that the trainer has a mistake, so that another try of the same task would not help.
    `traceback` has the last lines of the traceback of an exception in the trainer. `again` means that another try of
    the same call may be answered otherwise, although the status does not say so.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        headers: Mapping[str, str] | None = None,
        *,
        broken_trainer: bool = False,
        traceback: str | None = None,
        again: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.broken_trainer = broken_trainer
        self.traceback = traceback
        self.again = again

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
        if self.again:
            body["retry"] = True
        if lines:
            body["traceback"] = "\n".join(lines)
        # An escape is six bytes for a letter of two or three. Half of a surrogate pair has no bytes: it becomes "?".
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


class ParametersResponse:
    """200 with a complete parameter file.

    Args:
        pieces: the bytes of the body, in the content coding that `headers` name.
        digest: their SHA-256.
    """

    status = int(HTTPStatus.OK)

    def __init__(
        self, pieces: Sequence[bytes | memoryview], digest: bytes, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))
        self.digest = written_digest(digest)
        self._headers = headers

    def with_headers(self, added: Mapping[str, str]) -> "ParametersResponse":
        """Return the same response with more headers."""
        response = copy.copy(self)
        response._headers = {**self._headers, **added}  # noqa: SLF001  (of this class)
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        described = {"Content-Type": MEDIA_TYPE, "Content-Length": str(self._size), CONTENT_DIGEST: self.digest}
        headers = encoded({**described, **self._headers})
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self._size > _CHUNK:
            for piece in self._pieces:
                for start in range(0, len(piece), _CHUNK):
                    body = bytes(piece[start : start + _CHUNK])
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await send({"type": "http.response.body", "body": b"".join(self._pieces), "more_body": False})


async def compressed_response(payload: Payload) -> ParametersResponse:
    """Make the 200 with a complete parameter file in zstd. A thread compresses it, before its digest can be sent."""

    def compress() -> tuple[list[bytes], bytes]:
        frame = compressed_pieces(payload)
        return frame, digest_of(frame)

    return ParametersResponse(*await asyncio.to_thread(compress), {"Content-Encoding": ZSTD})


def compressed_pieces(payload: Payload) -> list[bytes]:
    """Compress a parameter file in zstd. It takes long: call it from a thread."""
    return [piece for piece in compressed(_pieces(payload)) if piece]


def _pieces(payload: Payload) -> Iterator[bytes | memoryview]:
    header, block = payload
    yield header
    for start in range(0, len(block), _CHUNK):
        yield block[start : start + _CHUNK]


def status_response(status: HTTPStatus, word: str) -> Response:
    body = b'{"status":"%s"}' % word.encode()
    return Response(status, body, "application/json", digest=written_digest(digest_of([body])))
