"""Encode updates as rounded differences to the parameters that training began with, and expand them again.

If a float tensor is wider than the encoding's type, ``update - base`` is sent. float16 rounds it value by value. int8
sends the nearest multiples of one float32 scale per tensor, which is the largest magnitude / 127 (0 if all values are
0). Integers, bools and narrower floats are sent as they are. An update that an encoding cannot hold (a value that is
not finite, or beyond the type's range) has to be sent in full.

The caller gets the rounding errors back and adds them to the next difference. Without this error feedback the rounding
errors of many rounds add up (Seide et al., "1-bit stochastic gradient descent", 2014; Karimireddy et al., "Error
feedback fixes SignSGD and other gradient compression schemes", 2019).

Everything is computed in float64 and in blocks, so that only the returned tensors take memory that grows with the
model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.wire.bfloat16 import is_bfloat16
from tcsfeel.wire.codec import Packed, Parameters
from tcsfeel.wire.errors import MalformedParameters
from tcsfeel.wire.tasks import EncodingName, UpdateEncoding

BLOCK = 1 << 17  # values: 1 MiB as float64

_TYPES: Mapping[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "int8": np.dtype("i1")}
_LARGEST_CODE = 127

Block = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EncodedUpdate:
    """The tensors to send, the encoding that says how to read them, and the rounding errors (float32)."""

    parameters: Parameters
    encoding: UpdateEncoding
    lost: Parameters


def known(offered: str) -> EncodingName:
    """Return an offered encoding, or "full" if this version does not know it."""
    return "float16" if offered == "float16" else "int8" if offered == "int8" else "full"


def wire_dtype(dtype: np.dtype[Any], encoding: str) -> np.dtype[Any] | None:
    """Return the dtype in which the difference of a tensor is sent, or None if the tensor itself is sent."""
    narrow = _TYPES.get(encoding)
    floating = dtype.kind == "f" or is_bfloat16(dtype)
    return narrow if narrow is not None and floating and dtype.itemsize > narrow.itemsize else None


def encode_update(
    update: Parameters, base: Parameters, encoding: EncodingName, lost: Parameters
) -> EncodedUpdate | None:
    """Round `update` for sending. Returns None if it has to be sent in full.

    Args:
        update: tensors with the names, shapes and dtypes of `base`.
        base: the parameters that training began with.
        encoding: float16 or int8.
        lost: the rounding errors of the last update, for any of the tensors that are sent as differences.
    """
    sent: dict[str, npt.NDArray[Any]] = {}
    scales: dict[str, float] = {}
    losses: dict[str, npt.NDArray[np.float32]] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is sent in full
        for name, tensor in base.items():
            narrow = wire_dtype(tensor.dtype, encoding)
            if narrow is None:
                sent[name] = update[name]
                continue
            difference = _Difference(update[name], tensor, lost.get(name))
            scale = _scale(difference.peak()) if encoding == "int8" else 1.0
            codes, losses[name] = difference.rounded(narrow, scale)
            if not (np.isfinite(scale) and np.isfinite(codes).all()):
                return None
            sent[name] = codes
            if encoding == "int8":
                scales[name] = scale
    return EncodedUpdate(sent, UpdateEncoding(name=encoding, scales=scales), losses)


def check_encoded(sent: Packed, encoding: UpdateEncoding, base: Packed) -> None:
    """Raise `MalformedParameters` unless these are differences to `base`, all of them, in the encoding's dtypes."""
    expected: dict[str, str] = {}
    for name, tensor in base.parameters().items():
        narrow = wire_dtype(tensor.dtype, encoding.name)
        expected[name] = f"{narrow or tensor.dtype}{list(tensor.shape)}"
    found = {name: f"{tensor.dtype}{list(tensor.shape)}" for name, tensor in sent.parameters().items()}
    if found.keys() != expected.keys():
        missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        raise MalformedParameters(f"its tensors are not the model's: missing {missing[:3]}, unknown {extra[:3]}")
    for name, form in expected.items():
        if found[name] != form:
            raise MalformedParameters(f"tensor {name!r} is {found[name]}, but {encoding.name} needs {form}")
    scaled = {
        name for name, spec in sent.layout.items() if encoding.name == "int8" and spec.dtype != base.layout[name].dtype
    }
    if encoding.scales.keys() != scaled:
        wrong = sorted(encoding.scales.keys() ^ scaled)
        raise MalformedParameters(f"update_encoding.scales must name the tensors that are differences: see {wrong[:3]}")


def expand(sent: Packed, encoding: UpdateEncoding, base: Packed) -> Iterator[memoryview]:
    """Yield the block of the full update in the layout of `base`, in pieces. Call `check_encoded` first."""
    tensors, origin = sent.parameters(), base.parameters()
    for name, spec in sorted(base.layout.items(), key=lambda item: item[1].start):
        codes, start = tensors[name].reshape(-1), origin[name].reshape(-1)
        scale = float(np.float32(encoding.scales.get(name, 1.0)))
        for rows in _pieces(codes.size):
            piece = codes[rows]
            if sent.layout[name].dtype != spec.dtype:
                piece = _sum(start[rows], piece, scale)
            yield piece.view(np.uint8).data


class _Difference:
    """The difference that an update makes to one tensor, plus the rounding error of the update before."""

    def __init__(self, update: npt.NDArray[Any], base: npt.NDArray[Any], lost: npt.NDArray[Any] | None) -> None:
        self._shape = base.shape
        self._update, self._base = update.reshape(-1), base.reshape(-1)
        self._lost = None if lost is None else lost.reshape(-1)

    def peak(self) -> float:
        """Return the largest magnitude, or NaN if some value is NaN."""
        peaks = [np.abs(self._difference(rows)).max() for rows in _pieces(self._base.size)]
        return float(np.max(peaks, initial=0.0))

    def rounded(self, dtype: np.dtype[Any], scale: float) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Return the codes, and the rounding errors."""
        codes = np.zeros(self._base.size, dtype)
        lost = np.zeros(self._base.size, np.float32)
        for rows in _pieces(self._base.size):
            difference = self._difference(rows)
            if dtype.kind == "f":
                codes[rows] = difference
            elif scale > 0.0:
                codes[rows] = np.rint(difference / scale)
            base = self._base[rows]
            lost[rows] = base.astype(np.float64) + difference - _sum(base, codes[rows], scale).astype(np.float64)
        return codes.reshape(self._shape), lost.reshape(self._shape)

    def _difference(self, rows: slice) -> Block:
        """Return the values that the other side should add to the base."""
        value = self._update[rows].astype(np.float64) - self._base[rows].astype(np.float64)
        return value if self._lost is None else value + self._lost[rows]


def _sum(base: npt.NDArray[Any], codes: npt.NDArray[Any], scale: float) -> npt.NDArray[Any]:
    """Add codes to a piece of the base, as both sides do it, in the dtype of `base`."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused when the update is checked
        difference = codes.astype(np.float64)
        difference *= scale
        difference += base.astype(np.float64)
        return difference.astype(base.dtype)


def _scale(peak: float) -> float:
    """Return a float32 that is at least `peak` when multiplied by 127. It is not finite if there is none."""
    scale = np.float32(peak / _LARGEST_CODE)
    reaches = float(scale) * _LARGEST_CODE >= peak
    return float(scale if reaches else np.nextafter(scale, np.float32(np.inf)))


def _pieces(size: int) -> Iterator[slice]:
    for start in range(0, size, BLOCK):
        yield slice(start, min(start + BLOCK, size))
