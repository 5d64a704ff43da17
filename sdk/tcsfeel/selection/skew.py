"""Tell how the labels of clients differ from those of all clients together, whatever is known of them.

What counts is the labels that a client reports, also with noise. For a client that does not report labels, it is the
sketch of its updates, if there is one.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.labels import Labels
from tcsfeel.selection.sketches import skew_of_sketches

Floats = npt.NDArray[np.float64]

MIN_SAMPLES = 1e-12  # relative to the largest client; the square of this is still far from 0


def sample_shares(sizes: Floats) -> Floats:
    """Return numbers of samples (N,) divided by the largest: `MIN_SAMPLES`..1."""
    return np.asarray(np.maximum(sizes / sizes.max(), MIN_SAMPLES))


def skew_of(labels: Labels, sketches: Mapping[int, tuple[float, ...]], samples: Floats) -> Floats:
    """Return the differences (N, C), or (N, C + `SIZE`) if there are sketches.

    Sketches are scaled to be as uneven on average as the labels that are reported.

    Args:
        labels: the distributions of N clients.
        sketches: those that are known, by position.
        samples: (N,) the numbers of samples, above 0.
    """
    of_labels = labels.skew if labels.reported.any() else np.zeros((len(samples), 0))
    if not sketches:
        return of_labels
    of_reporting = of_labels[labels.reported]
    mean_square = float((of_reporting * of_reporting).sum(axis=1).mean()) if len(of_reporting) else 0.0
    unreported = [None if known else sketches.get(place) for place, known in enumerate(labels.reported)]
    return np.hstack([of_labels, skew_of_sketches(unreported, samples, mean_square or None)])
