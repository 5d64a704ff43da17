"""The numbers of many candidates as arrays, which are computed with in one step and not one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.types import BITS_PER_BYTE, Candidate
from tcsfeel.transfers import BYTES_PER_MB

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Columns:
    """The numbers of N candidates, each (N,), in the units of `Candidate`. What is not known is NaN.

    Attributes:
        per_mb: the seconds that one megabyte takes over the link to the server, without the latency.
    """

    data_size: Floats
    compute_capacity: Floats
    bandwidth: Floats
    latency: Floats
    reliability: Floats
    train_seconds: Floats
    per_mb: Floats

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> Self:
        bandwidth = _floats([one.bandwidth for one in candidates])
        stated = _floats([one.server_cost for one in candidates])
        return cls(
            data_size=_floats([one.data_size for one in candidates]),
            compute_capacity=_floats([one.compute_capacity for one in candidates]),
            bandwidth=bandwidth,
            latency=_floats([one.latency for one in candidates]),
            reliability=_floats([one.reliability for one in candidates]),
            train_seconds=_floats([one.train_seconds for one in candidates]),
            per_mb=np.where(np.isnan(stated), _quotient(BITS_PER_BYTE, bandwidth), stated),
        )

    def at(self, places: npt.NDArray[np.intp]) -> Self:
        """Return the numbers of the candidates at some places."""
        return type(self)(**{name: getattr(self, name)[places] for name in _NAMES})

    def changed(self, places: Sequence[int], candidates: Sequence[Candidate]) -> Self:
        """Return the numbers after the candidates at some places have changed."""
        newest, changed = Columns.of(candidates), {}
        for name in _NAMES:
            changed[name] = getattr(self, name).copy()
            changed[name][list(places)] = getattr(newest, name)
        return type(self)(**changed)

    def transfer_seconds(self, model_bytes: int) -> Floats:
        """Return the seconds that a model of `model_bytes` takes over the link to the server, with the latency."""
        with np.errstate(over="ignore"):  # who computes with seconds limits them
            return self.per_mb * model_bytes / BYTES_PER_MB + self.latency / 1000


_NAMES = tuple(field.name for field in fields(Columns))


def _quotient(dividend: float, divisors: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return dividend / divisors


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array(values, np.float64)
