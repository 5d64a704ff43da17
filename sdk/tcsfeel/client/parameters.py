"""Upload and download models, as arrays in memory or as files. An interrupted download to a file can be resumed.

The name of a version is the SHA-256 of its file, which is the `ETag` of the download. The downloaded bytes are compared
with it. So an interruption, a version that changed in between, or a proxy cannot lead to a wrong model.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from tcsfeel.client.messages import call
from tcsfeel.client.parts import PartFile
from tcsfeel.contract.models import ModelVersionOut
from tcsfeel.rest.exchange import Answer, Head, Request, Steps, Work, Writer
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import UnexpectedAnswer
from tcsfeel.wire.codec import MEDIA_TYPE, Parameters, decode, pieces
from tcsfeel.wire.errors import MalformedParameters

PIECE = 1 << 20  # bytes that are sent at once
MAX_MODEL_BYTES = 4_000_000_000
_ETAG = re.compile(r'"([0-9a-f]{64})"')
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/[0-9]{1,18}")


def upload_model(training_id: str, model: Parameters | str | os.PathLike[str]) -> Steps[ModelVersionOut]:
    """Upload the initial parameters of a training: arrays by name, or the path of a safetensors file."""
    if isinstance(model, Mapping):
        parts = [memoryview(piece) for piece in pieces(model)]
        size, body = sum(len(part) for part in parts), lambda: _sliced(parts)
    else:
        file = Path(model)
        size, body = file.stat().st_size, lambda: _read(file)
    headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(size)}
    where = path("/v1/trainings/{training_id}/model", training_id)
    return (yield from call(ModelVersionOut, Request("PUT", where, headers=headers, body=body, repeatable=True)))


def download_model(
    training_id: str, *, after_round: int | None = None, max_bytes: int = MAX_MODEL_BYTES
) -> Steps[dict[str, npt.NDArray[Any]]]:
    """Download the newest parameters, or those of a round (0 for the initial ones), as read-only arrays by name."""
    memory = _Memory(max_bytes)
    yield from _download(training_id, after_round, memory)
    parameters: dict[str, npt.NDArray[Any]] = yield Work(memory.decoded)
    return parameters


def save_model(
    training_id: str,
    file: str | os.PathLike[str],
    *,
    after_round: int | None = None,
    max_bytes: int = MAX_MODEL_BYTES,
) -> Steps[Path]:
    """Download the newest parameters, or those of a round, into a safetensors file.

    Until the download is complete, the bytes are in a temporary file beside the target. A later call, in this process
    or another one, continues from there if the server still has the same version.
    """
    target = Path(file)
    part = PartFile(target, lambda size: _bounded(size, max_bytes))
    try:
        yield from _download(training_id, after_round, part)
        yield Work(part.finish)
    finally:
        part.close()
    return target


class _Store(Protocol):
    """Stores the bytes of a version. `etag` is the version's name, once it is known."""

    etag: str

    def size(self) -> int: ...
    def begin(self, etag: str) -> None: ...
    def write(self, piece: bytes) -> object: ...
    def digest(self) -> str: ...
    def discard(self) -> None: ...


def _download(training_id: str, after_round: int | None, store: _Store) -> Steps[None]:
    outside = frozenset({416})
    request = Request(
        "GET",
        path("/v1/trainings/{training_id}/model", training_id),
        params=[] if after_round is None else [("round", str(after_round))],
        headers={"Accept": MEDIA_TYPE},
        repeatable=True,
        accepts=outside,
        resume=lambda: _range(store),
        receiver=lambda head: _receiver(head, store),
        position=store.size,
    )
    answer: Answer = yield request
    if answer.status in outside:  # the stored bytes are not the beginning of the server's file
        yield Work(store.discard)
        yield replace(request, accepts=frozenset())
    digest: str = yield Work(store.digest)
    if digest != store.etag:
        yield Work(store.discard)
        raise UnexpectedAnswer(f"the downloaded model has the SHA-256 {digest}, but the server announced {store.etag}")


def _range(store: _Store) -> dict[str, str]:
    size = store.size()
    return {"Range": f"bytes={size}-", "If-Range": f'"{store.etag}"'} if size else {}


def _receiver(head: Head, store: _Store) -> Writer:
    """Append to the store, or start again if the answer has another version or the whole file."""
    etag = _ETAG.fullmatch(head.headers.get("ETag", ""))
    if etag is None:
        raise UnexpectedAnswer("the answer does not name a version of the model in its ETag")
    begins = _RANGE.fullmatch(head.headers.get("Content-Range", ""))
    if head.status != 206:  # noqa: PLR2004  (Partial Content)
        store.begin(etag[1])
    elif begins is None or int(begins[1]) != store.size() or etag[1] != store.etag:
        raise UnexpectedAnswer("the answer has another part of the model than the one that was requested")
    return store.write


class _Memory:
    """Keeps the bytes in memory."""

    def __init__(self, max_bytes: int) -> None:
        self.etag = ""
        self._max_bytes = max_bytes
        self._bytes = bytearray()

    def size(self) -> int:
        return len(self._bytes)

    def begin(self, etag: str) -> None:
        self.etag = etag
        self._bytes = bytearray()

    def write(self, piece: bytes) -> None:
        _bounded(len(self._bytes) + len(piece), self._max_bytes)
        self._bytes += piece

    def digest(self) -> str:
        return hashlib.sha256(self._bytes).hexdigest()

    def discard(self) -> None:
        self._bytes = bytearray()

    def decoded(self) -> dict[str, npt.NDArray[Any]]:
        try:
            return decode(self._bytes)[0]
        except MalformedParameters as error:
            raise UnexpectedAnswer(f"the model cannot be read: {error}") from None


def _bounded(size: int, most: int) -> None:
    if size > most:
        raise UnexpectedAnswer(f"the model has more than {most} bytes: pass a larger max_bytes to accept it")


def _sliced(parts: list[memoryview]) -> Iterator[bytes]:
    for part in parts:
        for start in range(0, len(part), PIECE):
            yield bytes(part[start : start + PIECE])


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            yield piece
