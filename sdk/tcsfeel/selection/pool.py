"""Hold the arguments of a strategy for one round, with the candidates as arrays.

Strategies divide and square numbers, so all of them are brought into a range where this cannot overflow. Costs and
seconds are at most `MAX_SECONDS` (links between clients are single-precision numbers, which are far below it), and
numbers of samples are divided by that of the largest client.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.columns import Columns
from tcsfeel.selection.debt import participation_debt
from tcsfeel.selection.labels import Labels, read_labels
from tcsfeel.selection.links import Links, Relays, Star
from tcsfeel.selection.skew import sample_shares, skew_of
from tcsfeel.selection.types import Candidate, History, SelectionPolicy
from tcsfeel.transfers import BYTES_PER_MB

Floats = npt.NDArray[np.float64]

MAX_SECONDS = 1e100
FLOPS_PER_PARAMETER = 6  # and sample: about 2 in the forward pass, 4 in the backward pass
BYTES_PER_PARAMETER = 4  # float32
GIGA = 1e9
# A client that never answered may still answer: without this nothing would be expected of a set of such clients, and
# its balance would be 0/0.
MIN_RELIABILITY = 0.01
EXPLORING = 8.0  # by default weights, it outweighs a link four times as expensive as the mean


@dataclass(frozen=True)
class Pool:
    """The arguments of a strategy, with N candidates in the given order.

    Attributes:
        candidates: the clients that may be selected.
        connectivity: the links between clients, which may also be others than the candidates.
        history: the selections of the training's past rounds.
        policy: the rules for this round.
    """

    candidates: tuple[Candidate, ...]
    connectivity: Connectivity
    history: History
    policy: SelectionPolicy

    @classmethod
    def of(cls, candidates: Iterable[Candidate], *rest: Any) -> Self:
        return cls(Candidates.of(candidates), *rest)

    @cached_property
    def table(self) -> Candidates:
        return Candidates.of(self.candidates)

    @cached_property
    def columns(self) -> Columns:
        """Return the numbers of the candidates as arrays."""
        return self.table.columns

    @cached_property
    def costs(self) -> Floats:
        """Return the link time (N,) of one model down and one up over the server link: 0..`MAX_SECONDS` seconds."""
        size = self.policy.model_bytes
        return np.minimum(2 * self.columns.transfer_seconds(size), MAX_SECONDS)

    @cached_property
    def seconds(self) -> Floats:
        """Return the expected seconds (N,) from the begin of the download to the end of the upload."""
        training = train_seconds(self.columns, self.policy)
        return np.minimum(self.costs + np.minimum(training, MAX_SECONDS), MAX_SECONDS)

    @cached_property
    def reliability(self) -> Floats:
        """Return the probability (N,) that a client's update arrives: `MIN_RELIABILITY`..1."""
        return np.maximum(self.columns.reliability, MIN_RELIABILITY)

    @cached_property
    def samples(self) -> Floats:
        """Return the numbers of samples (N,) divided by the largest: from 1e-12 to 1."""
        return sample_shares(self.columns.data_size)

    @cached_property
    def labels(self) -> Labels:
        """Return the label distributions of the candidates."""
        return read_labels([candidate.data_distribution for candidate in self.candidates], self.samples)

    @cached_property
    def skew(self) -> Floats:
        """Return how each client's label shares or its sketch differ from those of all clients together.

        The shape is (N, C), or (N, C + `SIZE`) if there are sketches.
        """
        return skew_of(self.labels, self.table.sketches, self.samples)

    @cached_property
    def links(self) -> Links:
        """Return the links over which updates may travel."""
        if self.policy.topology == "star":
            return Star(self.costs)
        costs = self.connectivity.restricted(self.ids()).costs
        seconds = costs.data.astype(np.float64) * (2 * self.policy.model_bytes / BYTES_PER_MB)  # both ways
        between = sparse.csr_array((seconds, costs.indices, costs.indptr), shape=costs.shape)
        return Relays(self.costs, between, self.reliability)

    @cached_property
    def debt(self) -> Floats:
        """Return the participation debt Q of each candidate (N,)."""
        return participation_debt(self.ids(), self.history, self.table.places)

    @cached_property
    def urgency(self) -> Floats:
        """Return the participation debt Q of each candidate (N,), larger for those that have to be explored.

        If a client is overdue, and nothing is known about its data while something is known about that of others, it
        has Q + `EXPLORING`·Q². So something is known about every client after N/K rounds or a few more, even if its
        link is expensive.
        """
        known = self.labels.reported.copy()
        known[list(self.table.sketches)] = True
        exploring = ~known & (self.debt > 0) & known.any()
        return self.debt + np.where(exploring, EXPLORING * self.debt**2, 0.0)

    def ids(self, members: Iterable[int] | None = None) -> tuple[str, ...]:
        """Return the ids of some candidates, or of all."""
        every = self.table.ids
        return every if members is None else tuple([every[member] for member in members])


def train_seconds(columns: Columns, policy: SelectionPolicy) -> Floats:
    """Estimate the seconds (N,) of one fit: the measured ones if known, otherwise the operations by the claimed GFLOPS.

    One pass over the data takes about 6 operations per parameter and sample (Kaplan et al., "Scaling Laws for Neural
    Language Models", 2020, section 2.1), and the model has one parameter per 4 bytes. As soon as clients have been
    measured, estimates are multiplied by how many times longer these take than their claims say (the median).
    """
    parameters = policy.model_bytes / BYTES_PER_PARAMETER
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # the caller limits the seconds
        operations = FLOPS_PER_PARAMETER * parameters * columns.data_size * policy.local_epochs
        claimed = operations / GIGA / columns.compute_capacity
        ratios = columns.train_seconds / claimed
        known = ratios[np.isfinite(ratios) & (ratios > 0)]
        claimed *= np.median(known) if len(known) else 1.0
    return np.where(np.isnan(columns.train_seconds), claimed, columns.train_seconds)
