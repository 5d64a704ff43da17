"""Updates as rounded differences to the parameters that training began with.

Of a float tensor that is wider than the encoding's type, ``update - base`` travels: as float16, value by value; or as
int8, the nearest multiples of one float32 scale per tensor, which is its largest magnitude / 127 (0 where all is 0).
Integers, bools and narrower floats travel as they are. An update that an encoding cannot hold (a value that is not
finite, or beyond the type's range) has to travel in full.

What rounding lost is given back to the caller, who adds it to the next difference: error feedback, without which the
rounding errors of many rounds add up (Seide et al., "1-bit stochastic gradient descent", 2014; Karimireddy et al.,
"Error feedback fixes SignSGD and other gradient compression schemes", 2019).

All is computed in float64 and in blocks: memory does not grow with the model beyond what is returned.
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
    """Tensors to send, what says how to read them, and what rounding lost of each difference (float32)."""

    parameters: Parameters
    encoding: UpdateEncoding
    lost: Parameters


def known(offered: str) -> EncodingName:
    """An offered encoding, "full" in place of one that is not known here."""
    return "float16" if offered == "float16" else "int8" if offered == "int8" else "full"


def wire_dtype(dtype: np.dtype[Any], encoding: str) -> np.dtype[Any] | None:
    """What the difference of a tensor of this dtype travels as, None where the tensor itself travels."""
    narrow = _TYPES.get(encoding)
    floating = dtype.kind == "f" or is_bfloat16(dtype)
    return narrow if narrow is not None and floating and dtype.itemsize > narrow.itemsize else None


def encode_update(
    update: Parameters, base: Parameters, encoding: EncodingName, lost: Parameters
) -> EncodedUpdate | None:
    """Round `update` for the wire; None where it has to travel in full.

    Args:
        update: the tensors of `base`, same names, shapes and dtypes.
        base: what training began with.
        encoding: float16 or int8.
        lost: what rounding lost the last time, of any of the tensors that travel as differences.
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
    """The block of the whole update in the layout of `base`, piece by piece; `check_encoded` must have passed."""
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
    """What an update changed of one tensor, with what was lost before."""

    def __init__(self, update: npt.NDArray[Any], base: npt.NDArray[Any], lost: npt.NDArray[Any] | None) -> None:
        self._shape = base.shape
        self._update, self._base = update.reshape(-1), base.reshape(-1)
        self._lost = None if lost is None else lost.reshape(-1)

    def peak(self) -> float:
        """The largest magnitude, not a number where some value is none."""
        peaks = [np.abs(self._difference(rows)).max() for rows in _pieces(self._base.size)]
        return float(np.max(peaks, initial=0.0))

    def rounded(self, dtype: np.dtype[Any], scale: float) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """The codes, and what the other side will lack."""
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
        """What the other side should add to the base."""
        value = self._update[rows].astype(np.float64) - self._base[rows].astype(np.float64)
        return value if self._lost is None else value + self._lost[rows]


def _sum(base: npt.NDArray[Any], codes: npt.NDArray[Any], scale: float) -> npt.NDArray[Any]:
    """What both sides make of a piece, in the dtype of `base`."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused when the update is checked
        difference = codes.astype(np.float64)
        difference *= scale
        difference += base.astype(np.float64)
        return difference.astype(base.dtype)


def _scale(peak: float) -> float:
    """A float32 of which 127 reach `peak`; not finite where none does."""
    scale = np.float32(peak / _LARGEST_CODE)
    reaches = float(scale) * _LARGEST_CODE >= peak
    return float(scale if reaches else np.nextafter(scale, np.float32(np.inf)))


def _pieces(size: int) -> Iterator[slice]:
    for start in range(0, size, BLOCK):
        yield slice(start, min(start + BLOCK, size))
