"""Find the links over which the updates of a set travel, and what they cost.

A *star* uses every client's link to the server. A *relay tree* lets clients carry each other's updates: a relay passes
the model on, adds its children's updates to its own and sends one up, so the server's link carries one model each way
for each relay. A client's way up may be a link to a relay instead of its link to the server, at

    d_ij + (1 - r_j) c_i          of client i to relay j

where d_ij is one model down and one up over the link between them, and the rest is the expected price of falling back
to the server, c_i, when the relay fails. Trees are no deeper than a relay and its children: deeper ones save little and
wait longer. Which clients relay is the warehouse problem, solved greedily: of all clients the one becomes a relay next
that saves most (Kuehn, Hamburger, "A heuristic program for locating warehouses", 1963).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]

SERVER = -1  # as a parent
LEAST_SAVING = 1e-12  # of the star's cost; less is rounding


@dataclass(frozen=True, slots=True)
class Tree:
    """The links of one set of K clients.

    Attributes:
        parents: (K,) positions within the set, `SERVER` for the server.
        costs: (K,) s of link time between each client and its parent, one model down and one up.
    """

    parents: Positions
    costs: Floats


class Links(Protocol):
    """The links of N candidates."""

    def cost(self, sets: Positions) -> Floats:
        """Return (M,) the link time of M sets (M, K), in seconds."""
        ...

    def cost_with_each(self, members: Sequence[int]) -> Floats:
        """(N,) s of link time of the union of a set and each candidate, to be compared: exact for a star only."""
        ...

    def tree(self, members: Sequence[int]) -> Tree:
        """Return the links of one set."""
        ...


@dataclass(frozen=True)
class Star:
    """Every client at the server, for `server` (N,) s of link time."""

    server: Floats

    def cost(self, sets: Positions) -> Floats:
        return np.asarray(self.server[sets].sum(axis=1))

    def cost_with_each(self, members: Sequence[int]) -> Floats:
        return np.asarray(self.server[list(members)].sum() + self.server)

    def tree(self, members: Sequence[int]) -> Tree:
        return Tree(np.full(len(members), SERVER), self.server[list(members)])


@dataclass(frozen=True)
class Relays:
    """Relay trees.

    Attributes:
        server: (N,) s of link time of each client's link to the server.
        between: (N, N) s of link time of the links between clients, symmetric, sorted indices; absent: no link.
        reliability: (N,) 0..1.
    """

    server: Floats
    between: sparse.csr_array
    reliability: Floats

    def cost(self, sets: Positions) -> Floats:
        return np.asarray(self._trees(sets)[1].sum(axis=1))

    def cost_with_each(self, members: Sequence[int]) -> Floats:
        """The candidate hangs on the tree of the set, or takes over those of its leaves that it suits better."""
        chosen = np.asarray(members, dtype=np.intp)
        if not len(chosen):
            return self.server
        tree = self.tree(members)
        place, other, direct = self._links_of(chosen)  # of all links of members: of which one, to whom, s
        candidate, member = self.server[other], self.server[chosen][place]
        hangs = (tree.parents == SERVER)[place]
        as_leaf = self.server.copy()
        np.minimum.at(as_leaf, other[hangs], (direct + (1 - self.reliability[chosen][place]) * candidate)[hangs])
        is_leaf = ~np.isin(np.arange(len(chosen)), tree.parents)[place]
        gain = np.maximum(tree.costs[place] - (direct + (1 - self.reliability[other]) * member), 0.0)
        saved = np.bincount(other[is_leaf], weights=gain[is_leaf], minlength=len(self.server))
        return np.asarray(tree.costs.sum() + np.minimum(as_leaf, self.server - saved))

    def tree(self, members: Sequence[int]) -> Tree:
        parents, costs = self._trees(np.asarray([members], dtype=np.intp))
        return Tree(parents[0], costs[0])

    def _trees(self, sets: Positions) -> tuple[Positions, Floats]:
        """Return (M, K) parents and costs of M sets."""
        rows = np.arange(len(sets))
        server = self.server[sets]
        attach = self._between(sets) + (1 - self.reliability[sets])[:, np.newaxis, :] * server[:, :, np.newaxis]
        costs, parents = server.copy(), np.full(sets.shape, SERVER)
        relays = np.zeros(sets.shape, dtype=bool)
        for _ in range(sets.shape[1]):  # each time one more relays, and who does already would save exactly 0 more
            saved = np.maximum(costs[:, :, np.newaxis] - attach, 0.0)
            saved = (saved * ~relays[:, :, np.newaxis]).sum(axis=1) - (server - costs)
            best = saved.argmax(axis=1)
            opened = saved[rows, best] > LEAST_SAVING * server.sum(axis=1)
            if not opened.any():
                break
            relays[rows[opened], best[opened]] = True
            costs = np.where(relays, server, costs)
            parents = np.where(relays, SERVER, parents)
            onward = np.where(opened[:, np.newaxis], attach[rows, :, best], np.inf)
            better = ~relays & (onward < costs)
            costs = np.where(better, onward, costs)
            parents = np.where(better, best[:, np.newaxis], parents)
        return parents, costs

    def _between(self, sets: Positions) -> Floats:
        """Return (M, K, K) the links within each set, inf if there is none."""
        rows, columns = np.broadcast_arrays(sets[:, :, np.newaxis], sets[:, np.newaxis, :])
        entry = np.asarray(self._entries[rows.ravel(), columns.ravel()]).reshape(rows.shape)
        return np.asarray(self._costs[entry])

    def _links_of(self, chosen: Positions) -> tuple[Positions, Positions, Floats]:
        """(E,) the links of some clients, one after the other: the place among `chosen`, the other end, s."""
        start, count = self.between.indptr[chosen], np.diff(self.between.indptr)[chosen]
        place = np.repeat(np.arange(len(chosen)), count)
        entries = np.arange(len(place)) + (start - np.cumsum(count) + count)[place]
        return place, self.between.indices[entries], self.between.data[entries]

    @cached_property
    def _entries(self) -> sparse.csr_array:
        """Of each link its place in `_costs`; 0 where there is none, which a cost could not tell from a free link."""
        links = self.between
        return sparse.csr_array((np.arange(1, links.nnz + 1), links.indices, links.indptr), shape=links.shape)

    @cached_property
    def _costs(self) -> Floats:
        return np.concatenate(([np.inf], self.between.data))
