"""Parameters as bytes: the safetensors layout, written once and read without a copy.

The layout (https://github.com/huggingface/safetensors, "Format"): eight bytes of little-endian header length, a JSON
header that maps each tensor name to ``dtype``, ``shape`` and ``data_offsets``, then the tensors' bytes. Offsets count
from the end of the header; the tensors cover that block without hole or overlap. ``__metadata__`` maps strings to
strings.

One block of tensors serves a whole round: only the header differs between two clients' tasks, so ``Packed.payload``
makes a new header in front of the same memory. Decoding gives read-only views into the buffer that came in, after
every offset was checked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.wire.errors import MalformedParameters, quoted
from tcsfeel.wire.headers import DTYPES, LENGTH, MAX_HEADER_BYTES, Layout, TensorSpec, header, parse_header

Parameters = Mapping[str, npt.NDArray[Any]]
Buffer = bytes | bytearray | memoryview

MEDIA_TYPE = "application/vnd.safetensors"
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


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
                view = np.empty(spec.shape, DTYPES[spec.dtype])
            else:
                view = np.frombuffer(self.block, DTYPES[spec.dtype], count, spec.start).reshape(spec.shape)
            view.flags.writeable = False
            views[name] = view
        return views


def arrange(parameters: Parameters) -> dict[str, TensorSpec]:
    """A layout: widest dtype first, so that each tensor starts aligned, then by name, whatever the mapping's order.

    Raises:
        MalformedParameters: a value that is no array, a dtype that the format cannot hold, or a name that it reserves.
    """
    if "__metadata__" in parameters:
        raise MalformedParameters("a tensor cannot be named __metadata__")
    for name, array in parameters.items():
        if not isinstance(array, np.ndarray | np.generic):
            raise MalformedParameters(f"tensor {quoted(name)} must be a numpy array, not a {type(array).__name__}")
    layout: dict[str, TensorSpec] = {}
    position = 0
    for name in sorted(parameters, key=lambda name: (-parameters[name].itemsize, name)):
        array = parameters[name]
        dtype = _NAMES.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            raise MalformedParameters(f"tensor {quoted(name)} has dtype {array.dtype}, which cannot be sent")
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


def unpack(buffer: Buffer, header_bytes: int = MAX_HEADER_BYTES) -> tuple[Packed, dict[str, str]]:
    """Check a complete file and give its layout, its block (a view, no copy) and its metadata.

    Args:
        buffer: the file.
        header_bytes: how long the header may be; a longer one is not parsed.

    Raises:
        MalformedParameters: the header is cut, is too long or breaks the format, or offsets overlap, leave a hole or
            leave the file.
    """
    view = memoryview(buffer).cast("B").toreadonly()
    if len(view) < LENGTH.size:
        raise MalformedParameters(f"{len(view)} bytes are too few for a header")
    (length,) = LENGTH.unpack_from(view)
    if length > len(view) - LENGTH.size:
        raise MalformedParameters(f"the header claims {length} bytes, the file has {len(view)}")
    if length > header_bytes:
        raise MalformedParameters(f"the header has {length} bytes, at most {header_bytes} are allowed here")
    block = view[LENGTH.size + length :]
    layout, metadata = parse_header(view[LENGTH.size : LENGTH.size + length])
    _check_cover(layout, len(block))
    return Packed(layout, block), metadata


def decode(buffer: Buffer) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Parameters (read-only views into `buffer`) and metadata of a complete file; errors as `unpack`."""
    packed, metadata = unpack(buffer)
    return packed.parameters(), metadata


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    """The values as they are sent: in order, little-endian; a view of the array where it lies like that already."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _check_cover(layout: Mapping[str, TensorSpec], size: int) -> None:
    position = 0
    for name, spec in sorted(layout.items(), key=lambda item: (item[1].start, item[1].stop)):
        if spec.start != position:
            raise MalformedParameters(f"tensor {quoted(name)} starts at byte {spec.start}, not at {position}")
        position = spec.stop
    if position != size:
        raise MalformedParameters(f"the tensors end at {position}, the block at {size}")
