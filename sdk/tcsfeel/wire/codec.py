"""Write parameters as bytes in the safetensors layout, and read them without a copy.

The layout (https://github.com/huggingface/safetensors, "Format"): eight bytes of little-endian header length, a JSON
header that maps each tensor name to ``dtype``, ``shape`` and ``data_offsets``, then the tensors' bytes. Offsets count
from the end of the header; the tensors cover that block without holes or overlaps. ``__metadata__`` maps strings to
strings.

A round uses one block of tensors: the tasks of two clients differ only in the header, so ``Packed.payload`` makes a new
header for the same memory. Decoding checks every offset, and then gives read-only views into the buffer that came in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.wire.errors import MalformedParameters, quoted
from tcsfeel.wire.headers import (
    DTYPES,
    LENGTH,
    MAX_HEADER_BYTES,
    Layout,
    TensorSpec,
    check_length,
    entries_of,
    header,
    header_with,
    parse_header,
)

Parameters = Mapping[str, npt.NDArray[Any]]
Buffer = bytes | bytearray | memoryview

MEDIA_TYPE = "application/vnd.safetensors"
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Packed:
    """Tensors that are ready to be sent: their layout and one block of bytes."""

    layout: Layout
    block: memoryview

    def payload(self, metadata: Mapping[str, str] | None = None) -> tuple[bytes, memoryview]:
        """Return the header with `metadata`, and the block. One after the other they are a complete file."""
        return header_with(self.entries, metadata), self.block

    @cached_property
    def entries(self) -> bytes:
        """The part of a header that describes the tensors."""
        return entries_of(self.layout)

    @cached_property
    def runs(self) -> Layout:
        """A layout of the same block in few tensors, each of which joins neighbours of one dtype."""
        found: list[tuple[str, int, int]] = []
        for start, stop, dtype in sorted((spec.start, spec.stop, spec.dtype) for spec in self.layout.values()):
            if found and found[-1][0] == dtype:
                found[-1] = (dtype, found[-1][1], stop)
            elif stop > start:
                found.append((dtype, start, stop))
        return {
            f"{dtype} from {start}": TensorSpec(dtype, ((stop - start) // DTYPES[dtype].itemsize,), start, stop)
            for dtype, start, stop in found
        }

    def parameters(self) -> dict[str, npt.NDArray[Any]]:
        """Return the tensors as read-only views into the block."""
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
    """Make a layout: the widest dtype first, so that each tensor is aligned, and equal dtypes ordered by name.

    Raises:
        MalformedParameters: a value is not an array, has a dtype that the format cannot hold, or a reserved name.
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
    """Copy tensors into one block. Raises the same errors as `arrange`."""
    layout = arrange(parameters)
    # numpy asks for huge pages: a bytearray's small ones cost several times as much as the copy
    block = np.empty(sum(array.nbytes for array in parameters.values()), np.uint8).data
    for name, spec in layout.items():
        block[spec.start : spec.stop] = _bytes(parameters[name])
    return Packed(layout, block.toreadonly())


def pieces(parameters: Parameters, metadata: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """Yield a complete file of `parameters`, tensor by tensor and without a copy. Raises the errors of `arrange`."""
    layout = arrange(parameters)
    yield header(layout, metadata)
    for name in layout:
        yield _bytes(parameters[name])


def encode(parameters: Parameters, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a complete file of `parameters` in one piece. Raises the same errors as `arrange`."""
    return b"".join(pieces(parameters, metadata))


def unpack(
    buffer: Buffer, header_bytes: int = MAX_HEADER_BYTES, *, like: Packed | None = None
) -> tuple[Packed, dict[str, str]]:
    """Check a complete file, and return its layout, its block (a view, not a copy) and its metadata.

    Args:
        buffer: the file.
        header_bytes: the most bytes that the header may have; a longer one is not parsed.
        like: another file. If this one describes its tensors in the same way, it gets the same object as its layout.

    Raises:
        MalformedParameters: the header is cut short, is too long or breaks the format, or offsets overlap, leave a
            hole or lie outside the file.
    """
    view = memoryview(buffer).cast("B").toreadonly()
    if len(view) < LENGTH.size:
        raise MalformedParameters(f"{len(view)} bytes are too few for a header")
    (length,) = LENGTH.unpack_from(view)
    if length > len(view) - LENGTH.size:
        raise MalformedParameters(f"the header claims {length} bytes, the file has {len(view)}")
    check_length(length, header_bytes)
    block = view[LENGTH.size + length :]
    expected = None if like is None else (like.entries, like.layout)
    layout, metadata = parse_header(view[LENGTH.size : LENGTH.size + length], expected)
    if like is None or layout is not like.layout or len(block) != len(like.block):
        _check_cover(layout, len(block))
    return Packed(layout, block), metadata


def decode(buffer: Buffer) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Return the parameters (read-only views into `buffer`) and metadata of a file. Raises the errors of `unpack`."""
    packed, metadata = unpack(buffer)
    return packed.parameters(), metadata


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    """Return the values as they are sent: in C order and little-endian. If the array is so already, this is a view."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _check_cover(layout: Mapping[str, TensorSpec], size: int) -> None:
    position = 0
    for name, spec in sorted(layout.items(), key=lambda item: (item[1].start, item[1].stop)):
        if spec.start != position:
            raise MalformedParameters(f"tensor {quoted(name)} starts at byte {spec.start}, not at {position}")
        position = spec.stop
    if position != size:
        raise MalformedParameters(f"the tensors end at {position}, the block at {size}")
