"""The two forms of the connectivity matrix: JSON for people, safetensors for large matrices.

A matrix in safetensors is read without making a list of Python objects. JSON is read and written row by row. Both are
done in a thread.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import to_json as to_json_text

from app.http.batches import replacement
from app.http.bodies import JSON, UnsupportedMediaType
from tcsfeel.contract.fields import STRICT
from tcsfeel.errors import Invalid
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.wire.codec import MEDIA_TYPE, decode
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.headers import TensorSpec, header

TENSOR = "costs"
JSON_CELL_BYTES = 128  # a cost with its white space, or half of a link with two names
BINARY_CELL_BYTES = 4
CELLS = 100_000  # that are written at once

_CLIENT_IDS: TypeAdapter[list[str]] = TypeAdapter(list[Annotated[str, Field(max_length=64)]], config=STRICT)

Reader = Callable[[memoryview], Callable[[Collection[str]], Connectivity]]
Writer = Callable[[Connectivity], Iterator[bytes]]


def reader_of(content_type: str) -> tuple[Reader, int]:
    """Find the reader of a media type, and the bytes that a cell of the matrix takes. Raises `UnsupportedMediaType`."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _READERS:
        raise UnsupportedMediaType(*_READERS)
    return _READERS[kind]


def writer_for(accept: str) -> tuple[Writer, str]:
    """Find the writer of the form that an ``Accept`` header prefers, and its media type. The default is JSON."""
    wanted = dict(map(_preference, accept.split(",")))
    binary, text = wanted.get(MEDIA_TYPE, 0.0), wanted.get(JSON, 0.0)
    return (to_safetensors, MEDIA_TYPE) if binary > text else (to_json, JSON)


def _preference(entry: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in entry.split(";"))
    for parameter in parameters:
        if (weight := _QUALITY.fullmatch(parameter)) is not None:
            return kind, float(weight[1])
    return kind, 1.0


_QUALITY = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")


def from_json(body: memoryview) -> Callable[[Collection[str]], Connectivity]:
    """Return a function that builds the matrix in `body`. Both raise errors that are meant for the sender."""

    def build(known: Collection[str]) -> Connectivity:
        return replacement(body, known)

    return build


def from_safetensors(body: memoryview) -> Callable[[Collection[str]], Connectivity]:
    """Return a function that builds the matrix from the float32 tensor ``costs`` and ``client_ids`` in the metadata."""

    def build(known: Collection[str]) -> Connectivity:
        try:
            tensors, metadata = decode(body)
        except WireError as error:
            raise Invalid("", f"the body is not a safetensors file: {error}") from None
        if tensors.keys() != {TENSOR} or tensors[TENSOR].dtype != np.float32:
            raise Invalid(f"/{TENSOR}", "should be the only tensor of the file, of float32")
        return Connectivity.from_matrix(_client_ids(metadata.get("client_ids")), tensors[TENSOR], known=known)

    return build


_READERS: dict[str, tuple[Reader, int]] = {
    JSON: (from_json, JSON_CELL_BYTES),
    MEDIA_TYPE: (from_safetensors, BINARY_CELL_BYTES),
}


def to_json(value: Connectivity) -> Iterator[bytes]:
    """Write the matrix as rows, with null where there is no link; in pieces, one row at a time."""
    yield b'{"version":%d,"client_ids":%b,"costs":[' % (value.version, to_json_text(list(value.client_ids)))
    for start, rows in _blocks(value):
        texts = (to_json_text([None if cost == np.inf else cost for cost in row.tolist()]) for row in rows)
        yield (b"," if start else b"") + b",".join(texts)
    yield b"]}"


def to_safetensors(value: Connectivity) -> Iterator[bytes]:
    """Write the matrix as one float32 tensor, with +inf where there is no link; in pieces."""
    size = len(value.client_ids)
    metadata = {"client_ids": json.dumps(value.client_ids), "version": str(value.version)}
    yield header({TENSOR: TensorSpec("F32", (size, size), 0, BINARY_CELL_BYTES * size**2)}, metadata)
    for _, rows in _blocks(value):
        yield rows.astype("<f4", copy=False).tobytes()


def _blocks(value: Connectivity) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Dense rows, some at a time, with the number of the first: a whole matrix could be 400 MB."""
    size = len(value.client_ids)
    at_once = max(1, CELLS // max(size, 1))
    for start in range(0, size, at_once):
        yield start, value.rows(start, min(size, start + at_once))


def _client_ids(text: str | None) -> list[str]:
    try:
        return _CLIENT_IDS.validate_json(text or "")
    except ValidationError:
        detail = "should be in the metadata, as a JSON list of strings of at most 64 characters"
        raise Invalid("/client_ids", detail) from None
