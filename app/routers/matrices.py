"""The two forms of the connectivity matrix: JSON for people, safetensors for large ones.

A large matrix never becomes a list of Python objects on its way in as safetensors, and its JSON is parsed by pydantic
straight from the bytes; both happen in a thread.
"""

import json
from collections.abc import Callable, Collection

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.domain.connectivity import Connectivity
from app.domain.errors import Invalid
from app.schemas.connectivity import ConnectivityOut, ReplaceConnectivity
from app.wire.codec import decode, encode
from app.wire.errors import WireError

TENSOR = "costs"


def from_json(body: bytes) -> Callable[[Collection[str]], Connectivity]:
    """A builder of the matrix in `body`. Both raise what the sender should hear."""

    def build(known: Collection[str]) -> Connectivity:
        try:
            parsed = ReplaceConnectivity.model_validate_json(body)
        except ValidationError as error:
            found = [entry | {"loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
            raise RequestValidationError(found) from None
        return parsed.connectivity(known)

    return build


def from_safetensors(body: bytes) -> Callable[[Collection[str]], Connectivity]:
    """A builder of the float32 tensor ``costs``, with ``client_ids`` as a JSON list in its metadata."""

    def build(known: Collection[str]) -> Connectivity:
        try:
            tensors, metadata = decode(body)
        except WireError as error:
            raise Invalid("", f"the body is not a safetensors file: {error}") from None
        if tensors.keys() != {TENSOR} or tensors[TENSOR].dtype != np.float32:
            raise Invalid(f"/{TENSOR}", "the file must hold exactly one tensor, `costs`, of float32")
        return Connectivity.from_matrix(_client_ids(metadata.get("client_ids")), tensors[TENSOR], known=known)

    return build


def to_json(value: Connectivity) -> bytes:
    """The matrix as rows, null for no link."""
    rows = ([None if cost == np.inf else cost for cost in row.tolist()] for row in value.block(value.client_ids))
    answer = ConnectivityOut(version=value.version, client_ids=list(value.client_ids), costs=list(rows))
    return answer.model_dump_json().encode()


def to_safetensors(value: Connectivity) -> bytes:
    """The matrix as one float32 tensor, +inf for no link."""
    metadata = {"client_ids": json.dumps(value.client_ids), "version": str(value.version)}
    return encode({TENSOR: value.block(value.client_ids)}, metadata)


def _client_ids(text: str | None) -> list[str]:
    try:
        ids = json.loads(text or "")
    except (ValueError, RecursionError):
        ids = None
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise Invalid("/client_ids", "the metadata must hold `client_ids`, a JSON list of strings")
    return ids
