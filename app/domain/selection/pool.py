"""The candidates of one round as arrays, which is how every strategy looks at them.

All magnitudes that strategies divide or square are brought into a range where neither can overflow: costs and seconds
are capped at `MAX_SECONDS`, sample counts are relative to the largest client's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from app.domain.selection.labels import Labels, read_labels
from app.domain.selection.types import Candidate, SelectionPolicy

Floats = npt.NDArray[np.float64]

MAX_SECONDS = 1e100
FLOPS_PER_PARAMETER = 6  # and sample: about 2 in the forward pass, 4 in the backward pass
BYTES_PER_PARAMETER = 4  # float32
GIGA = 1e9
# A client that never answered may still answer: without this nothing would be expected of a set of such clients, and
# its balance would be 0/0.
MIN_RELIABILITY = 0.01
MIN_SAMPLES = 1e-12  # of the largest client's: squares of it are still far from 0


@dataclass(frozen=True)
class Pool:
    """N candidates, in the order given.

    Attributes:
        candidates: as given.
        policy: as given.
    """

    candidates: tuple[Candidate, ...]
    policy: SelectionPolicy

    @cached_property
    def costs(self) -> Floats:
        """(N,) link time in s of one model down and one up over the client's server link: 0..MAX_SECONDS."""
        size = self.policy.model_bytes
        return np.minimum([2 * candidate.transfer_seconds(size) for candidate in self.candidates], MAX_SECONDS)

    @cached_property
    def seconds(self) -> Floats:
        """(N,) s that a client is expected to take from receiving the model to having sent its update."""
        training = [train_seconds(candidate, self.policy) for candidate in self.candidates]
        return np.minimum(self.costs + np.minimum(training, MAX_SECONDS), MAX_SECONDS)

    @cached_property
    def reliability(self) -> Floats:
        """(N,) probability that a client's update arrives: MIN_RELIABILITY..1."""
        return np.clip([candidate.reliability for candidate in self.candidates], MIN_RELIABILITY, 1.0)

    @cached_property
    def samples(self) -> Floats:
        """(N,) samples relative to the largest client's: MIN_SAMPLES..1."""
        sizes = np.array([float(candidate.data_size) for candidate in self.candidates])
        return np.asarray(np.maximum(sizes / sizes.max(), MIN_SAMPLES))

    @cached_property
    def labels(self) -> Labels:
        """What the candidates say of their labels."""
        return read_labels([candidate.data_distribution for candidate in self.candidates], self.samples)

    def ids(self, members: Sequence[int]) -> tuple[str, ...]:
        """The names of some candidates."""
        return tuple(self.candidates[member].client_id for member in members)


def train_seconds(candidate: Candidate, policy: SelectionPolicy) -> float:
    """Expected seconds of one fit: measured where known, else the floating point operations over the claimed GFLOPS.

    One pass over the data takes about 6 operations per parameter and sample (Kaplan et al., "Scaling Laws for Neural
    Language Models", 2020, section 2.1), and the model has one parameter per 4 bytes.
    """
    if candidate.train_seconds is not None:
        return candidate.train_seconds
    parameters = policy.model_bytes / BYTES_PER_PARAMETER
    operations = FLOPS_PER_PARAMETER * parameters * candidate.data_size * policy.local_epochs
    return operations / GIGA / candidate.compute_capacity
