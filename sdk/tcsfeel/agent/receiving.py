"""Receive the bodies of tasks, and keep what has come of one that broke off, so that the caller can send the rest.

The form is that of the IETF's draft for resumable uploads: `HEAD` tells how much has come, and `PATCH` appends to it. A
caller that comes back takes an upload from its earlier call, for which the agent may still wait.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.agent.asgi import Disconnected, Request, Response
from tcsfeel.agent.replies import Problem
from tcsfeel.wire.digests import CONTENT_DIGEST, REPR_DIGEST, read_digest
from tcsfeel.wire.resuming import (
    NO,
    PARTIAL_UPLOAD,
    UPLOAD_COMPLETE,
    UPLOAD_LIMIT,
    UPLOAD_OFFSET,
    YES,
    read_offset,
)

KEPT = 2  # uploads that broke off, of one agent
KEPT_SECONDS = 600.0


@dataclass(eq=False, slots=True)
class _Upload:
    """A body of which `size` bytes have come. Only the call that is its `reader` may add to it."""

    digest: bytes
    buffer: npt.NDArray[np.uint8]
    size: int = 0
    reader: object = None
    seen_at: float = 0.0


class Uploads:
    """The bodies that come to one agent.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, _Upload] = {}

    async def whole(self, task_id: str, request: Request, most: int) -> memoryview:
        """Receive the body of a `PUT`. Raises `Problem` if it has more than `most` bytes, and `Disconnected`."""
        text = request.header("content-length")
        claimed = int(text) if text.isascii() and text.isdigit() else 0
        if claimed > most:
            raise _too_large(most)
        # It has its final length, since growing costs more than reading, and it is numpy's, which asks for huge pages.
        body = np.empty(claimed, np.uint8)
        digest = read_digest(request.header(CONTENT_DIGEST.lower()))
        if claimed and digest is not None:
            return await self._fill(task_id, self._begin(task_id, _Upload(digest, body)), request)
        size = 0
        async for chunk in request.body():
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            if size > len(body):  # the request does not say how long it is
                body = np.concatenate([body, np.empty(size, np.uint8)])
            body.data[size - len(chunk) : size] = chunk
        return body.data[:size]

    async def rest(self, task_id: str, request: Request) -> memoryview:
        """Receive the rest of a body by `PATCH`, and return all of it.

        Raises:
            Problem: it does not begin where the upload ends, or is not the rest of it.
            Disconnected: the connection was lost again.
        """
        offset, upload = read_offset(request.header(UPLOAD_OFFSET.lower())), self._kept.get(task_id)
        if request.header("content-type") != PARTIAL_UPLOAD or offset is None:
            detail = f"the rest of a task needs Content-Type: {PARTIAL_UPLOAD} and {UPLOAD_OFFSET}"
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        if request.header(UPLOAD_COMPLETE.lower()) != YES:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"send all of the rest, with {UPLOAD_COMPLETE}: {YES}")
        digest = read_digest(request.header(REPR_DIGEST.lower()))
        size = 0 if upload is None or upload.digest != digest else upload.size
        if upload is None or offset != size or not size:
            detail = f"{UPLOAD_OFFSET} is {offset}, and {size} bytes of this task are here"
            raise Problem(HTTPStatus.CONFLICT, detail, {UPLOAD_OFFSET: str(size)})
        return await self._fill(task_id, upload, request)

    def progress(self, task_id: str) -> Response:
        """Answer how much of a task has come, and take it from a call that is still reading it. Raises `Problem`."""
        self._expire()
        upload = self._kept.get(task_id)
        if upload is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"nothing of the task {task_id!r} has come")
        upload.reader = None
        said = {UPLOAD_OFFSET: str(upload.size), UPLOAD_COMPLETE: NO, UPLOAD_LIMIT: f"max-size={len(upload.buffer)}"}
        return Response(HTTPStatus.NO_CONTENT, headers=said)

    def drop(self, task_id: str) -> None:
        """Forget what has come of a task."""
        self._kept.pop(task_id, None)

    def _begin(self, task_id: str, upload: _Upload) -> _Upload:
        self._expire()
        self._kept.pop(task_id, None)
        while len(self._kept) >= KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[task_id] = upload
        return upload

    async def _fill(self, task_id: str, upload: _Upload, request: Request) -> memoryview:
        reader: Any = object()
        upload.reader, upload.seen_at = reader, self._clock()
        async for chunk in request.body():
            if upload.reader is not reader:
                raise Disconnected
            end = upload.size + len(chunk)
            if end > len(upload.buffer):
                raise _too_large(len(upload.buffer))
            upload.buffer.data[upload.size : end] = chunk
            upload.size, upload.seen_at = end, self._clock()
        if upload.size < len(upload.buffer):
            raise Disconnected
        if self._kept.get(task_id) is upload:
            del self._kept[task_id]
        return upload.buffer.data

    def _expire(self) -> None:
        now = self._clock()
        for task_id in [one for one, upload in self._kept.items() if now - upload.seen_at > KEPT_SECONDS]:
            del self._kept[task_id]


def _too_large(most: int) -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a task may have at most {most} bytes")
