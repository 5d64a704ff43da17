"""Tell how the labels of clients differ from those of all clients together, whatever is known of them.

What counts is the labels that a client reports, also with noise. For a client that does not report labels, it is the
sketch of its updates, if there is one.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.claims import believed
from tcsfeel.selection.columns import Columns
from tcsfeel.selection.labels import Labels, read_labels
from tcsfeel.selection.sketches import skew_of_sketches
from tcsfeel.selection.types import Candidate, History, SelectionPolicy

Floats = npt.NDArray[np.float64]

MIN_SAMPLES = 1e-12  # relative to the largest client; the square of this is still far from 0


def sample_shares(sizes: Floats) -> Floats:
    """Return numbers of samples (N,) divided by the largest: `MIN_SAMPLES`..1."""
    return np.asarray(np.maximum(sizes / sizes.max(), MIN_SAMPLES))


def skew_of(labels: Labels, sketches: Sequence[tuple[float, ...] | None], samples: Floats) -> Floats:
    """Return the differences (N, C), or (N, C + `SIZE`) if there are sketches.

    Sketches are scaled to be as uneven on average as the labels that are reported.

    Args:
        labels: the distributions of N clients.
        sketches: of each client.
        samples: (N,) the numbers of samples, above 0.
    """
    of_labels = labels.skew if labels.reported.any() else np.zeros((len(sketches), 0))
    if all(sketch is None for sketch in sketches):
        return of_labels
    of_reporting = of_labels[labels.reported]
    mean_square = float((of_reporting * of_reporting).sum(axis=1).mean()) if len(of_reporting) else 0.0
    unreported = [None if reported else sketch for sketch, reported in zip(sketches, labels.reported, strict=True)]
    return np.hstack([of_labels, skew_of_sketches(unreported, samples, mean_square or None)])


def believable_skew(candidates: Sequence[Candidate]) -> Floats:
    """Return the differences (N, C), where a claim of far more samples than is usual does not count (`claims`)."""
    taken = believed(candidates, History(), SelectionPolicy()).candidates
    samples = sample_shares(Columns.of(taken).data_size)
    labels = read_labels([one.data_distribution for one in taken], samples)
    return skew_of(labels, [one.sketch for one in taken], samples)
