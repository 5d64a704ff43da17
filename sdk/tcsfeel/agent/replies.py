"""The answers of the agent protocol: problem details, small JSON, and parameters that are sent without copying."""

import asyncio
import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType

from tcsfeel.agent.asgi import Receive, Request, Response, Scope, Send, encoded
from tcsfeel.agent.results import Payload
from tcsfeel.errors import Picklable
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.compression import ZSTD, compressed
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.resuming import part_of
from tcsfeel.wire.sizes import ERROR_BYTES

_CHUNK = 256 * 1024  # bytes that are copied at a time; below it, a whole answer goes out in one write
_REST = re.compile(r"bytes=([0-9]{1,15})-")
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
    """200 with a complete parameter file, or 206 with a part of it.

    Args:
        pieces: the bytes of the body, in the content coding that `headers` name.
        digest: the SHA-256 of the complete file.
        begins: the first of its bytes that is sent.
    """

    def __init__(
        self,
        pieces: Sequence[bytes | memoryview],
        digest: bytes,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        begins: int = 0,
    ) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))
        self._begins = begins
        self._sha256 = digest
        self.digest = written_digest(digest)
        self.etag = f'"{digest.hex()}"'
        self.status = int(HTTPStatus.PARTIAL_CONTENT if begins else HTTPStatus.OK)
        self._headers = headers

    def with_headers(self, added: Mapping[str, str]) -> "ParametersResponse":
        """Return the same response with more headers."""
        response = copy.copy(self)
        response._headers = {**self._headers, **added}  # noqa: SLF001  (of this class)
        return response

    def rest(self, begins: int) -> "ParametersResponse":
        """Return the response with the bytes from `begins` on. Raises `Problem` if there are none."""
        if begins >= self._size:
            where = {"Content-Range": f"bytes */{self._size}"}
            detail = f"the answer has {self._size} bytes"
            raise Problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, detail, where)
        return ParametersResponse(self._pieces, self._sha256, self._headers, begins=begins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        left = self._size - self._begins
        described = {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(left),
            "ETag": self.etag,
            "Accept-Ranges": "bytes",
        }
        if self._begins:
            described["Content-Range"] = f"bytes {self._begins}-{self._size - 1}/{self._size}"
        else:
            described[CONTENT_DIGEST] = self.digest
        headers = encoded({**described, **self._headers})
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if left > _CHUNK:
            for piece in part_of(self._pieces, self._begins, left):
                for start in range(0, len(piece), _CHUNK):
                    body = bytes(piece[start : start + _CHUNK])
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            body = b"".join(part_of(self._pieces, self._begins, left))
            await send({"type": "http.response.body", "body": body, "more_body": False})


def ranged(answer: ParametersResponse | Response, request: Request) -> ParametersResponse | Response:
    """Return the rest of an answer, if the request asks for that and has the beginning of the same one."""
    wanted = _REST.fullmatch(request.header("range"))
    if wanted is None or not int(wanted[1]) or not isinstance(answer, ParametersResponse):
        return answer
    return answer.rest(int(wanted[1])) if request.header("if-range") == answer.etag else answer


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
