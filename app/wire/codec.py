"""Parameters as bytes: the safetensors layout, written once and read without a copy.

The layout (https://github.com/huggingface/safetensors, "Format"): eight bytes of little-endian header length, a JSON
header that maps each tensor name to ``dtype``, ``shape`` and ``data_offsets``, then the tensors' bytes. Offsets count
from the end of the header; the tensors cover that block without hole or overlap. ``__metadata__`` maps strings to
strings.

One block of tensors serves a whole round: only the header differs between two clients' tasks, so ``Packed.payload``
makes a new header in front of the same memory. Decoding gives read-only views into the buffer that came in, after
every offset was checked.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from app.wire.errors import MalformedParameters

Parameters = Mapping[str, npt.NDArray[Any]]
Buffer = bytes | bytearray | memoryview

MEDIA_TYPE = "application/vnd.safetensors"
MAX_HEADER_BYTES = 100_000_000  # the bound of the reference implementation
MAX_DIMENSIONS = 64  # numpy's bound
MAX_SIDE = 2**48  # an empty tensor may have any other side, within what an address can count

_LENGTH = struct.Struct("<Q")
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    **{
        name: np.dtype(code)
        for name, code in {
            "F64": "<f8", "F32": "<f4", "F16": "<f2",
            "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
            "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1",
            "BOOL": "?",
        }.items()
    },
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a layout: its dtype name, its shape, and where it lies in the block (bytes)."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


Layout = Mapping[str, TensorSpec]


@dataclass(frozen=True, slots=True)
class Packed:
    """Tensors that lie ready to be sent: their layout and one block of bytes."""

    layout: Layout
    block: memoryview

    def payload(self, metadata: Mapping[str, str] | None = None) -> tuple[bytes, memoryview]:
        """The header with `metadata`, and the block; sent one after the other they are a complete file."""
        return header(self.layout, metadata), self.block

    def parameters(self) -> dict[str, npt.NDArray[Any]]:
        """Read-only views into the block."""
        views: dict[str, npt.NDArray[Any]] = {}
        for name, spec in self.layout.items():
            count = prod(spec.shape)
            if count == 0:
                view = np.empty(spec.shape, _DTYPES[spec.dtype])
            else:
                view = np.frombuffer(self.block, _DTYPES[spec.dtype], count, spec.start).reshape(spec.shape)
            view.flags.writeable = False
            views[name] = view
        return views


def header(layout: Layout, metadata: Mapping[str, str] | None = None) -> bytes:
    """What stands in front of a block with this layout."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, spec in layout.items():
        entries[name] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": (spec.start, spec.stop)}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return _LENGTH.pack(len(text)) + text


def arrange(parameters: Parameters) -> dict[str, TensorSpec]:
    """A layout: widest dtype first, so that each tensor starts aligned, then by name, whatever the mapping's order.

    Raises:
        MalformedParameters: a dtype that the format cannot hold, or a name that it reserves.
    """
    if "__metadata__" in parameters:
        raise MalformedParameters("a tensor cannot be named __metadata__")
    layout: dict[str, TensorSpec] = {}
    position = 0
    for name in sorted(parameters, key=lambda name: (-parameters[name].itemsize, name)):
        array = parameters[name]
        dtype = _NAMES.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            raise MalformedParameters(f"tensor {name!r} has dtype {array.dtype}, which cannot be sent")
        layout[name] = TensorSpec(dtype, array.shape, position, position + array.nbytes)
        position += array.nbytes
    return layout


def pack(parameters: Parameters) -> Packed:
    """Lay tensors out in one block. Errors as `arrange`."""
    layout = arrange(parameters)
    # numpy asks for huge pages: a bytearray's small ones cost several times as much as the copy
    block = np.empty(sum(array.nbytes for array in parameters.values()), np.uint8).data
    for name, spec in layout.items():
        block[spec.start : spec.stop] = _bytes(parameters[name])
    return Packed(layout, block.toreadonly())


def pieces(parameters: Parameters, metadata: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """A complete file of `parameters`, tensor by tensor and without a copy of them. Errors as `arrange`."""
    layout = arrange(parameters)
    yield header(layout, metadata)
    for name in layout:
        yield _bytes(parameters[name])


def encode(parameters: Parameters, metadata: Mapping[str, str] | None = None) -> bytes:
    """A complete file of `parameters` in one piece. Errors as `arrange`."""
    return b"".join(pieces(parameters, metadata))


def unpack(buffer: Buffer) -> tuple[Packed, dict[str, str]]:
    """Check a complete file and give its layout, its block (a view, no copy) and its metadata.

    Raises:
        MalformedParameters: the header is cut or breaks the format, or offsets overlap, leave a hole or leave the file.
    """
    view = memoryview(buffer).cast("B").toreadonly()
    if len(view) < _LENGTH.size:
        raise MalformedParameters(f"{len(view)} bytes are too few for a header")
    (length,) = _LENGTH.unpack_from(view)
    if length > min(MAX_HEADER_BYTES, len(view) - _LENGTH.size):
        raise MalformedParameters(f"the header claims {length} bytes, the file has {len(view)}")
    entries = _parse_header(bytes(view[_LENGTH.size : _LENGTH.size + length]))
    block = view[_LENGTH.size + length :]
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedParameters("__metadata__ must map strings to strings")
    layout = {name: _parse_spec(name, entry) for name, entry in entries.items()}
    _check_cover(layout, len(block))
    return Packed(layout, block), metadata


def decode(buffer: Buffer) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Parameters (read-only views into `buffer`) and metadata of a complete file; errors as `unpack`."""
    packed, metadata = unpack(buffer)
    return packed.parameters(), metadata


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    """The values as they are sent: in order, little-endian; a view of the array where it lies like that already."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _parse_header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except MalformedParameters:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedParameters(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise MalformedParameters("the header is not a JSON object")
    return header


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise MalformedParameters(f"the header names {name!r} twice")
        entries[name] = value
    return entries


def _no_constant(name: str) -> None:
    raise MalformedParameters(f"the header holds {name}")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIDE


def _is_shape(value: object) -> bool:
    """Sides whose product numpy can hold, also where an empty side makes it zero."""
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS or not all(_is_size(side) for side in value):
        return False
    elements: int = prod(side for side in value if side)
    return elements <= MAX_SIDE


def _parse_spec(name: str, entry: object) -> TensorSpec:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise MalformedParameters(f"tensor {name!r} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise MalformedParameters(f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not _is_shape(shape):
        raise MalformedParameters(f"tensor {name!r} has a broken shape")
    if not isinstance(offsets, list) or len(offsets) != len(("start", "stop")) or not all(map(_is_size, offsets)):
        raise MalformedParameters(f"tensor {name!r} has broken data_offsets")
    if offsets[1] - offsets[0] != prod(shape) * _DTYPES[dtype].itemsize:
        raise MalformedParameters(f"tensor {name!r} does not fill its data_offsets")
    return TensorSpec(dtype, tuple(shape), offsets[0], offsets[1])


def _check_cover(layout: Mapping[str, TensorSpec], size: int) -> None:
    position = 0
    for name, spec in sorted(layout.items(), key=lambda item: (item[1].start, item[1].stop)):
        if spec.start != position:
            raise MalformedParameters(f"tensor {name!r} starts at {spec.start}, where {position} was due")
        position = spec.stop
    if position != size:
        raise MalformedParameters(f"the tensors end at {position}, the block at {size}")
