"""Find the links over which the updates of a set travel, and what they cost.

A *star* uses the link of every client to the server. In a *relay tree*, clients pass on the updates of others. A relay
passes the model on, adds the updates of its children to its own, and sends the sum up. So the server's link carries one
model each way for each relay. The link of client i to relay j, in place of its link to the server, costs

    d_ij + (1 - r_j) c_i

where d_ij is the time for one model down and one up over the link between them. The rest is the expected cost of
falling back to the link to the server, c_i, if the relay fails. A tree is never deeper than a relay and its children,
because deeper trees save little and take longer. The choice of the relays is the warehouse problem. It is solved
greedily: the next relay is always the client that saves most (Kuehn, Hamburger, "A heuristic program for locating
warehouses", 1963).
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

SERVER = -1  # the server as a parent
LEAST_SAVING = 1e-12  # as a share of the star's cost; a smaller saving is a rounding error
MOST_DENSE = 1024  # clients, whose links are then 8 MiB


@dataclass(frozen=True, slots=True)
class Tree:
    """The links of one set of K clients.

    Attributes:
        parents: (K,) the position of each client's parent within the set, or `SERVER`.
        costs: (K,) the link time between each client and its parent in seconds, for one model down and one up.
    """

    parents: Positions
    costs: Floats


class Links(Protocol):
    """The links of N candidates."""

    def cost(self, sets: Positions) -> Floats:
        """Return the link time (M,) of M sets (M, K), in seconds."""
        ...

    def cost_with_each(self, members: Sequence[int]) -> Floats:
        """Return the link time (N,) of the set together with each candidate, in seconds.

        The values are for comparisons: they are exact for a star only.
        """
        ...

    def tree(self, members: Sequence[int]) -> Tree:
        """Return the links of one set."""
        ...


@dataclass(frozen=True)
class Star:
    """A star: every client uses its link to the server, which takes `server` (N,) seconds of link time."""

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
        server: (N,) the link time of each client's link to the server, in seconds.
        between: (N, N) the link times of the links between clients in seconds, symmetric and with sorted indices. An
            absent entry means that there is no link.
        reliability: (N,) the reliability of each client, 0..1.
    """

    server: Floats
    between: sparse.csr_array
    reliability: Floats

    def cost(self, sets: Positions) -> Floats:
        return np.asarray(self._trees(sets)[1].sum(axis=1))

    def cost_with_each(self, members: Sequence[int]) -> Floats:
        """Return the link times (N,) of the set with each candidate, which becomes a leaf or takes over some leaves."""
        chosen = np.asarray(members, dtype=np.intp)
        if not len(chosen):
            return self.server
        tree = self.tree(members)
        place, other, direct = self._links_of(chosen)
        candidate, member = self.server[other], self.server[chosen][place]
        hangs = (tree.parents == SERVER)[place]
        as_leaf = self.server.copy()
        np.minimum.at(as_leaf, other[hangs], (direct + (1 - self.reliability[chosen][place]) * candidate)[hangs])
        leaves = np.ones(len(chosen), np.bool_)
        leaves[tree.parents[tree.parents != SERVER]] = False
        is_leaf = leaves[place]
        gain = np.maximum(tree.costs[place] - (direct + (1 - self.reliability[other]) * member), 0.0)
        saved = np.bincount(other[is_leaf], weights=gain[is_leaf], minlength=len(self.server))
        return np.asarray(tree.costs.sum() + np.minimum(as_leaf, self.server - saved))

    def tree(self, members: Sequence[int]) -> Tree:
        parents, costs = self._trees(np.asarray([members], dtype=np.intp))
        return Tree(parents[0], costs[0])

    def _trees(self, sets: Positions) -> tuple[Positions, Floats]:
        """Return the parents (M, K) and the costs (M, K) of M sets."""
        rows = np.arange(len(sets))
        server = self.server[sets]
        attach = self._between(sets) + (1 - self.reliability[sets])[:, np.newaxis, :] * server[:, :, np.newaxis]
        costs, parents = server.copy(), np.full(sets.shape, SERVER)
        relays = np.zeros(sets.shape, dtype=bool)
        for _ in range(sets.shape[1]):  # each pass adds a relay; a client that is one already would save exactly 0
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
        """Return the link times (M, K, K) within each set, infinite where there is no link."""
        if self._dense is not None:
            return np.asarray(self._dense[sets[:, :, np.newaxis], sets[:, np.newaxis, :]])
        rows, columns = np.broadcast_arrays(sets[:, :, np.newaxis], sets[:, np.newaxis, :])
        entry = np.asarray(self._entries[rows.ravel(), columns.ravel()]).reshape(rows.shape)
        return np.asarray(self._costs[entry])

    def _links_of(self, chosen: Positions) -> tuple[Positions, Positions, Floats]:
        """Return the links (E,) of some clients, one client after the other.

        For each link it gives the position in `chosen`, the position of the other client, and the seconds.
        """
        start, count = self.between.indptr[chosen], np.diff(self.between.indptr)[chosen]
        place = np.repeat(np.arange(len(chosen)), count)
        entries = np.arange(len(place)) + (start - np.cumsum(count) + count)[place]
        return place, self.between.indices[entries], self.between.data[entries]

    @cached_property
    def _dense(self) -> Floats | None:
        """Return the link times (N, N), infinite where there is no link; None for large fleets, where it has no room.

        It takes a fifth of the time to read.
        """
        count = len(self.server)
        if count > MOST_DENSE:
            return None
        dense = np.full((count, count), np.inf)
        dense[np.repeat(np.arange(count), np.diff(self.between.indptr)), self.between.indices] = self.between.data
        return dense

    @cached_property
    def _entries(self) -> sparse.csr_array:
        """Return the position of each link in `_costs`, or 0 if there is no link.

        A matrix of costs could not tell an absent link from one that costs nothing.
        """
        links = self.between
        return sparse.csr_array((np.arange(1, links.nnz + 1), links.indices, links.indptr), shape=links.shape)

    @cached_property
    def _costs(self) -> Floats:
        return np.concatenate(([np.inf], self.between.data))
