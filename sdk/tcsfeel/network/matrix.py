"""Check square matrices of link costs, and store and change them as sparse matrices."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tcsfeel.errors import Invalid

MAX_ASYMMETRY = 1e-6  # relative difference of the two directions of a link, which may come from rounding
MAX_COST = float(np.finfo(np.float32).max)
BLOCK = 256  # rows and columns compared with their mirror image at once, so that both stay in cache

Rows = Sequence[Sequence[float | None]] | npt.NDArray[Any]


class InvalidConnectivity(Invalid, ValueError):
    """Link costs are impossible; `pointer` names the cell as a JSON pointer, such as ``/costs/3/7``."""


def square(rows: Rows, size: int) -> npt.NDArray[np.floating[Any]]:
    """Return `rows` as a size by size array of floats, with None as +inf."""
    if isinstance(rows, np.ndarray) and rows.ndim != 2:  # noqa: PLR2004  (a matrix)
        raise InvalidConnectivity("/costs", f"must have 2 dimensions, has {rows.ndim}")
    if len(rows) != size:
        raise InvalidConnectivity("/costs", f"must have one row for each of the {size} client_ids, has {len(rows)}")
    for index, row in enumerate(rows):
        if len(row) != size:
            raise InvalidConnectivity(f"/costs/{index}", f"must have {size} entries, has {len(row)}")
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "f":
        return rows
    dense = np.empty((size, size))
    for index, row in enumerate(rows):
        try:
            dense[index] = row if isinstance(row, np.ndarray) else [math.inf if cost is None else cost for cost in row]
        except (TypeError, ValueError) as error:
            raise InvalidConnectivity(f"/costs/{index}", "must hold numbers and nulls only") from error
    return dense


def refuse_impossible(dense: npt.NDArray[np.floating[Any]]) -> None:
    """Refuse NaN, negative cells, cells that are too large, and a diagonal that is not 0."""
    for row, cells in enumerate(dense):
        fine = (cells >= 0) & ((cells <= MAX_COST) | (cells == math.inf))
        if not fine.all():
            column = int(np.argmin(fine))
            raise InvalidConnectivity(f"/costs/{row}/{column}", cost_rule(float(cells[column])))
    diagonal = np.diagonal(dense)
    own = (diagonal != 0) & (diagonal != math.inf)
    if own.any():
        row = int(np.argmax(own))
        raise InvalidConnectivity(f"/costs/{row}/{row}", f"the diagonal must be 0, is {diagonal[row]:g}")


def symmetric(dense: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Make a matrix float32 and symmetric: of two directions the smaller one counts. Larger differences are refused."""
    costs = np.array(dense, np.float32)
    for start in range(0, len(dense), BLOCK):
        rows, columns = np.s_[start : start + BLOCK, start:], np.s_[start:, start : start + BLOCK]
        here, mirrored = dense[rows], dense[columns].T
        if not all(np.array_equal(here[:, cut], mirrored[:, cut]) for cut in _cuts(here.shape[1])):
            _refuse_asymmetry(here, mirrored, start)
            costs[rows] = np.minimum(here, mirrored)
            costs[columns] = costs[rows].T
    return costs


def _refuse_asymmetry(here: npt.NDArray[np.floating[Any]], mirrored: npt.NDArray[np.floating[Any]], start: int) -> None:
    """Refuse rows from `start` on that differ by more than rounding from their mirror image across the diagonal."""
    rows, columns = np.nonzero(here != mirrored)
    ours, theirs = here[rows, columns], mirrored[rows, columns]
    larger = np.maximum(ours, theirs)
    # The difference of infinity and a number is infinity, which is more than any tolerance; inf - inf is no difference.
    apart = (larger == math.inf) | (larger - np.minimum(ours, theirs) > MAX_ASYMMETRY * larger)
    if apart.any():
        first = int(np.argmax(apart))
        row, column = start + int(rows[first]), start + int(columns[first])
        raise InvalidConnectivity(
            f"/costs/{row}/{column}",
            f"the matrix must be symmetric: {ours[first]:g} here, {theirs[first]:g} at /costs/{column}/{row}"
            " (inf: no link)",
        )


def _cuts(size: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, size, BLOCK))


def from_dense(costs: npt.NDArray[np.float32]) -> sparse.csr_array:
    """Return a CSR matrix of a dense symmetric one whose missing links are inf; zeros off the diagonal stay."""
    linked = costs < math.inf
    np.fill_diagonal(linked, val=False)
    indptr = np.concatenate(([0], np.cumsum(np.count_nonzero(linked, axis=1))))
    columns = np.broadcast_to(np.arange(len(costs), dtype=np.int32), costs.shape)
    return csr(costs[linked], columns[linked], indptr, len(costs))


def csr(
    data: npt.NDArray[np.float32], indices: npt.NDArray[Any], indptr: npt.NDArray[Any], size: int
) -> sparse.csr_array:
    """Make a size by size CSR matrix of these arrays, with the smallest possible type for positions."""
    kind = np.int32 if max(len(data), size) <= np.iinfo(np.int32).max else np.int64
    positions = (indices.astype(kind, copy=False), indptr.astype(kind, copy=False))
    return sparse.csr_array((data, *positions), shape=(size, size))


def with_entries(
    costs: sparse.csr_array,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> sparse.csr_array:
    """Return the matrix with entries set, or with NaN removed; they are given by rows, then columns, each once.

    Arrays that do not change are shared: if only costs of existing links change, only the costs are copied.
    """
    size, _ = costs.shape
    indptr, indices, data = costs.indptr, costs.indices, costs.data
    places, found = _places(costs, rows, columns)
    linked = ~np.isnan(values)
    added, removed = linked & ~found, found & ~linked
    data = data.copy()
    data[places[found & linked]] = values[found & linked]
    if not (added | removed).any():
        return csr(data, indices, indptr, size)
    gone = places[removed]
    gaps = places[added] - np.searchsorted(gone, places[added])
    data = np.insert(np.delete(data, gone), gaps, values[added])
    indices = np.insert(np.delete(indices, gone), gaps, columns[added])
    change = np.bincount(rows[added], minlength=size) - np.bincount(rows[removed], minlength=size)
    return csr(data, indices, indptr + np.concatenate(([0], np.cumsum(change))), size)


def _places(
    costs: sparse.csr_array, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Find the place of the entry of each cell, and whether it exists, by bisection of all the rows at once."""
    low, end = costs.indptr[rows].astype(np.int64), costs.indptr[rows + 1].astype(np.int64)
    high, last = end, costs.nnz - 1
    while (low < high).any():
        middle = (low + high) // 2
        before = (low < high) & (costs.indices[np.minimum(middle, last)] < columns)
        low, high = np.where(before, middle + 1, low), np.where(before, high, middle)
    found = low < end
    found[found] = costs.indices[low[found]] == columns[found]
    return low, found


def cost_rule(cost: float) -> str:
    return f"a cost is a number of s/MB from 0 to {MAX_COST:.3g}, or null for no link; not {cost:g}"
