"""Store the cost of the links between clients as one immutable sparse matrix.

A link costs seconds per megabyte. *Absent* and *zero* are different things: no link, and a link that costs nothing. A
compressed sparse row (CSR) matrix keeps them apart as long as zeros stay explicit entries, so nothing here calls
`eliminate_zeros`, builds a CSR from a dense matrix the scipy way, or compares with a dense zero.

Input says "no link" as None in lists and as +inf in arrays (a float32 tensor has no None; lists may use +inf too). NaN
has no meaning and is refused. The diagonal has no entries, because a client needs no link to itself.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tcsfeel.network.matrix import (
    MAX_COST,
    InvalidConnectivity,
    Rows,
    cost_rule,
    csr,
    from_dense,
    refuse_impossible,
    square,
    symmetric,
    with_entries,
)

AT_ONCE = 4096  # links that become arrays at once


class Edge(NamedTuple):
    """One undirected link and its cost in s/MB; a cost of None means that there is no link."""

    source: str
    target: str
    cost: float | None


@dataclass(frozen=True, eq=False)
class Connectivity:
    """Symmetric link costs between clients.

    Attributes:
        client_ids: the names of the rows, none twice.
        costs: N by N CSR of float32, s/MB, symmetric to the bit, sorted indices, empty diagonal. `costs.indptr`
            (N + 1), `costs.indices` and `costs.data` (one entry per direction of a link) are all there is to store.
        version: counts the replacements and changes of the matrix.
    """

    client_ids: tuple[str, ...]
    costs: sparse.csr_array
    version: int = 0

    @classmethod
    def empty(cls, client_ids: Iterable[str] = (), *, version: int = 0) -> "Connectivity":
        """Return a connectivity without links."""
        ids = _distinct(tuple(client_ids), None)
        return cls(ids, sparse.csr_array((len(ids), len(ids)), dtype=np.float32), version)

    @classmethod
    def from_matrix(
        cls, client_ids: Iterable[str], rows: Rows, *, known: Collection[str] | None = None, version: int = 0
    ) -> "Connectivity":
        """Check a whole matrix and make a connectivity of it.

        Args:
            client_ids: N names in the order of the rows.
            rows: N by N costs in s/MB, 0 or more; None or +inf for no link. If the two directions of a link differ by
                rounding, the smaller one is kept.
            known: the registered clients; if given, a name that is not among them is refused.
            version: of the result.

        Raises:
            InvalidConnectivity: not square, asymmetric, negative, NaN, a non-zero diagonal, beyond float32, or a
                client that is repeated or unknown.
        """
        ids = _distinct(tuple(client_ids), known)
        dense = square(rows, len(ids))
        refuse_impossible(dense)
        return cls(ids, from_dense(symmetric(dense)), version)

    @classmethod
    def from_edges(cls, client_ids: Iterable[str], edges: Iterable[Edge], *, version: int = 0) -> "Connectivity":
        """Make a connectivity of links between `client_ids`; an edge that is missing or costs None is no link.

        Raises:
            InvalidConnectivity: a client that is repeated, unknown or linked to itself, a cost that is negative or not
                finite, or two different costs for one link.
        """
        return cls.empty(client_ids, version=version - 1).with_edges(edges)

    def with_edges(self, changes: Iterable[Edge], *, known: Collection[str] = ()) -> "Connectivity":
        """Return the next version, with some links set and others (cost None) removed.

        Args:
            changes: links by name, each at most once.
            known: further clients that may be named; those that are get a row.

        Raises:
            InvalidConnectivity: as for `from_edges`.
        """
        position = dict(self.position)
        cells, values = _by_cell(changes, position, frozenset(known))
        size = len(position)
        above, below = np.divmod(cells, max(size, 1))
        rows, columns = np.concatenate((above, below)), np.concatenate((below, above))
        order = np.lexsort((columns, rows))
        indptr = np.pad(self.costs.indptr, (0, size - len(self.client_ids)), mode="edge")
        costs = csr(self.costs.data, self.costs.indices, indptr, size)
        costs = with_entries(costs, rows[order], columns[order], np.tile(values, 2)[order])
        return Connectivity(tuple(position), costs, self.version + 1)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Return the row of each client."""
        return {client_id: row for row, client_id in enumerate(self.client_ids)}

    @property
    def num_edges(self) -> int:
        """Return the number of links, each counted once."""
        return int(self.costs.nnz) // 2

    def edges(self) -> Iterator[Edge]:
        """Return every link once, by rows."""
        rows, columns, data = self._entries()
        once = rows < columns
        for source, target, cost in zip(rows[once], columns[once], data[once].tolist(), strict=True):
            yield Edge(self.client_ids[source], self.client_ids[target], cost)

    def neighbours(self, client_id: str) -> Mapping[str, float]:
        """Return the clients that `client_id` has a link to, with its cost; none for an unknown client."""
        row = self.position.get(client_id)
        if row is None:
            return {}
        span = slice(self.costs.indptr[row], self.costs.indptr[row + 1])
        names = (self.client_ids[column] for column in self.costs.indices[span])
        return dict(zip(names, self.costs.data[span].tolist(), strict=True))

    def restricted(self, client_ids: Sequence[str]) -> "Connectivity":
        """Return the links among `client_ids` alone, in their order; an unknown client has none."""
        if tuple(client_ids) == self.client_ids:
            return self
        source = np.fromiter((self.position.get(client_id, -1) for client_id in client_ids), dtype=np.int64)
        inside = np.flatnonzero(source >= 0)
        part = self.costs[source[inside]][:, source[inside]].tocoo()
        size = len(client_ids)
        cells = (inside[part.row], inside[part.col])
        costs = sparse.coo_array((part.data, cells), shape=(size, size)).tocsr()
        return Connectivity(tuple(client_ids), costs, self.version)

    def block(self, client_ids: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return dense costs among `client_ids`: K by K, inf for no link, 0 on the diagonal."""
        part = self.restricted(client_ids)
        rows, columns, data = part._entries()  # noqa: SLF001  (another value of this class)
        dense = np.full(part.costs.shape, np.inf, dtype=np.float32)
        dense[rows, columns] = data
        np.fill_diagonal(dense, 0)
        return dense

    def rows(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return some rows, dense as in `block`: (stop - start) by N."""
        spans = self.costs.indptr[start : stop + 1]
        inside = slice(spans[0], spans[-1])
        dense = np.full((stop - start, len(self.client_ids)), np.inf, dtype=np.float32)
        dense[np.repeat(np.arange(stop - start), np.diff(spans)), self.costs.indices[inside]] = self.costs.data[inside]
        dense[np.arange(stop - start), np.arange(start, stop)] = 0
        return dense

    def _entries(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        rows = np.repeat(np.arange(len(self.client_ids)), np.diff(self.costs.indptr))
        return rows, self.costs.indices.astype(np.int64), self.costs.data


def _distinct(client_ids: tuple[str, ...], known: Collection[str] | None) -> tuple[str, ...]:
    seen = set[str]()
    registered = None if known is None else frozenset(known)
    for index, client_id in enumerate(client_ids):
        if client_id in seen:
            raise InvalidConnectivity(f"/client_ids/{index}", f"client {client_id!r} is named twice")
        if registered is not None and client_id not in registered:
            raise InvalidConnectivity(f"/client_ids/{index}", f"there is no client {client_id!r}")
        seen.add(client_id)
    return client_ids


def _by_cell(
    changes: Iterable[Edge], position: dict[str, int], known: frozenset[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Check changes, and return them by cell above the diagonal, in the order of the cells; NaN removes a link.

    Cells are numbered in the final matrix, and new clients are added to `position`. There can be millions of changes:
    they become arrays early, because the interpreter does nothing else while it sorts such a long list.
    """
    pairs, costs = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    rest, start = iter(changes), 0
    while some := list(islice(rest, AT_ONCE)):
        pairs.append(_pairs(some, start, position, known))
        costs.append(np.array([edge.cost for edge in some], dtype=np.float64))
        start += len(some)
    pair, cost = np.concatenate(pairs), np.concatenate(costs)
    cells = pair.min(axis=1) * len(position) + pair.max(axis=1)
    order = np.argsort(cells, kind="stable")
    cells, cost = cells[order], cost[order]
    first = np.diff(cells, prepend=-1) != 0
    kept = cost[first]
    usual = kept[np.cumsum(first) - 1]
    other = (cost != usual) & ~(np.isnan(cost) & np.isnan(usual))
    if other.any():
        raise InvalidConnectivity(f"/edges/{order[other].min()}/cost", "appears twice with different costs")
    return cells[first], kept.astype(np.float32)


def _pairs(edges: Sequence[Edge], start: int, position: dict[str, int], known: frozenset[str]) -> npt.NDArray[np.int64]:
    """Check some links, the first of which has number `start`, and return their (E, 2) positions."""
    pairs = []
    for index, (source, target, cost) in enumerate(edges, start):
        for name, client_id in (("source", source), ("target", target)):
            if client_id not in position:
                if client_id not in known:
                    raise InvalidConnectivity(f"/edges/{index}/{name}", f"there is no client {client_id!r}")
                position[client_id] = len(position)
        if source == target:
            raise InvalidConnectivity(f"/edges/{index}/target", f"client {source!r} needs no link to itself")
        if cost is not None and not 0 <= cost <= MAX_COST:
            raise InvalidConnectivity(f"/edges/{index}/cost", cost_rule(cost))
        pairs.append((position[source], position[target]))
    return np.array(pairs, dtype=np.int64)
