"""Compare the labels of candidates, of each one alone and of several together.

A distribution has shares or counts, by position or by label. Only their proportions are used; `data_size` says how many
samples there are. A client that does not report labels is neutral: its samples count as distributed like those of all
clients together, so it neither improves nor worsens the balance of a set. If no client reports labels, every set is
balanced.

Memory and time grow in proportion to what is reported. If clients name so many labels of their own that a column for
each would take more than that, rare labels share columns. This does not happen with up to `FEW_LABELS` labels, or if
the clients report most of the labels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import chain
from operator import is_
from zlib import crc32

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.distributions import ByLabel, ByPosition, Packer
from tcsfeel.selection.types import DataDistribution

Floats = npt.NDArray[np.float64]

FEW_LABELS = 1024
MOST_KEPT = 1 << 20  # shares, which are 8 MiB
ROUNDING = 1e-12  # a smaller difference from the global share counts as none


@dataclass(frozen=True)
class Labels:
    """The distributions of N candidates over C labels (C = 1 if no client reports labels).

    Attributes:
        shares: (N, C) the label shares of each client, with the sum 1. A client that does not report labels has the
            global shares.
        overall: (C,) the global shares p*, weighted by the samples of the clients that report labels.
        reported: (N,) whether the client reports labels.
    """

    shares: Floats
    overall: Floats
    reported: npt.NDArray[np.bool_]

    @property
    def skew(self) -> Floats:
        """Return the differences (N, C) of the shares from the global ones, without those that are rounding errors."""
        difference = self.shares - self.overall
        return np.where(np.abs(difference) > ROUNDING, difference, 0.0)

    def divergences(self) -> Floats:
        """Return KL(client || global) of each client (N,), in nats; 0 for a client that does not report labels."""
        return kl_divergence(self.shares, self.overall)

    def pooled_divergence(self, members: Sequence[int], weights: Floats) -> float | None:
        """Return KL(pooled || global) of the labels that `members` report, in nats; None if none of them reports any.

        Args:
            members: the positions of candidates.
            weights: (N,) the expected number of samples of each candidate, above 0.
        """
        reporting = [member for member in members if self.reported[member]]
        if not reporting:
            return None
        pooled = weights[reporting] @ self.shares[reporting]
        return float(kl_divergence(pooled / pooled.sum(), self.overall))


def read_labels(distributions: Sequence[DataDistribution | None], samples: Floats) -> Labels:
    """Bring distributions to one set of labels.

    Lists are aligned by position, and shorter ones are padded with zeros. Mappings are aligned by label. Position i is
    the same as label "i", so both forms can be mixed.

    Args:
        distributions: those of N clients, each with numbers of at least 0 that are not all 0, or None.
        samples: (N,) the number of samples of each client, above 0.
    """
    kinds = set(map(type, distributions))
    if kinds <= {type(None)}:
        nothing = np.zeros(len(distributions), np.bool_)
        return Labels(np.ones((len(distributions), 1)), np.ones(1), nothing)
    shares, reported = _shares(distributions, frozen=kinds <= {type(None), ByPosition, ByLabel})
    if not reported.any():
        return Labels(np.ones((len(shares), 1)), np.ones(1), reported)
    overall = samples[reported] @ shares[reported]
    overall /= overall.sum()
    return Labels(np.where(reported[:, np.newaxis], shares, overall), overall, reported)


def _shares(distributions: Sequence[DataDistribution | None], frozen: bool) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the shares (N, C), 0 where nothing was reported, and whether anything was (N,).

    Round after round asks for the same ones. So the last ones are kept, if nobody changes them (`frozen`).
    """
    for known, found in _LAST if frozen else ():
        if len(known) == len(distributions) and all(map(is_, known, distributions)):
            return found
    shares, reported = _table(distributions)
    # The counts are divided by the largest one first, because a sum of huge counts could overflow.
    if reported.any():
        shares[reported] /= shares[reported].max(axis=1, keepdims=True)
        shares[reported] /= shares[reported].sum(axis=1, keepdims=True)
    if frozen and shares.size <= MOST_KEPT:
        _LAST[:] = [(distributions, (shares, reported))]
    return shares, reported


_LAST: list[tuple[Sequence[DataDistribution | None], tuple[Floats, npt.NDArray[np.bool_]]]] = []


def kl_divergence(shares: Floats, reference: Floats) -> Floats:
    """Return KL(shares || reference) over the last axis, in nats, where 0·log 0 is 0.

    Args:
        shares: (..., C) with the sum 1; 0 or negligible wherever `reference` is 0.
        reference: (C,) with the sum 1.
    """
    present = (shares > 0) & (reference > 0)
    ratio = np.divide(shares, reference, out=np.ones_like(shares), where=present)
    return np.asarray(np.maximum((shares * np.log(ratio)).sum(axis=-1), 0.0))


def _table(distributions: Sequence[DataDistribution | None]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return a table (N, C) of what was given, which may be scaled by row, and whether there was anything (N,).

    The labels of a list are its positions.
    """
    packer = Packer()
    given = [None if one is None else packer.packed(one) for one in distributions]
    given = [one if one is not None and any(count > 0 for count in one.counts) else None for one in given]
    reported = np.array([one is not None for one in given])
    if not any(isinstance(one, Mapping) for one in distributions):
        width = max(0 if one is None else len(one) for one in given)
        if width <= _most_columns(given):
            table = np.zeros((len(given), width))
            for row, one in enumerate(given):
                if one is not None:
                    table[row, : len(one)] = one.counts
            return table, reported
    by_label = [None if one is None else packer.by_label(one) for one in given]
    every = {one.names: None for one in by_label if one is not None}
    labels = dict.fromkeys(chain.from_iterable(names.labels for names in every))
    if len(labels) > _most_columns(by_label):
        return _merged(by_label), reported
    columns = {label: column for column, label in enumerate(labels)}
    places = {names: np.array([columns[label] for label in names.labels], dtype=np.intp) for names in every}
    table = np.zeros((len(by_label), len(columns)))
    for row, labelled in enumerate(by_label):
        if labelled is not None:
            table[row, places[labelled.names]] = labelled.counts
    return table, reported


def _most_columns(reports: Sequence[Sized | None]) -> int:
    """Return how many columns a table may have so that it has about as many cells as there are reported values."""
    return max(FEW_LABELS, sum(0 if one is None else len(one) for one in reports) // len(reports))


def _merged(by_label: Sequence[ByLabel | None]) -> Floats:
    """Return a table (N, at most `FEW_LABELS`) with shared columns. Each row is divided by its largest value.

    The labels that most clients report have columns of their own. All labels that only one client has share one column.
    The ratio of its shares to the global ones is the same for each of them, so divergences do not change. Labels that
    few clients share go to columns by their hash, which keeps inner products of rows about the same (Weinberger et al.,
    "Feature hashing for large scale multitask learning", 2009).
    """
    counts = Counter(chain.from_iterable(one.names.labels for one in by_label if one is not None))
    shared = [(label, count) for label, count in counts.items() if count > 1]
    shared.sort(key=lambda entry: -entry[1])
    common, rest = shared[: FEW_LABELS // 2], shared[FEW_LABELS // 2 :]
    few, alone = FEW_LABELS // 4, len(common) + FEW_LABELS // 4
    columns = {label: column for column, (label, _) in enumerate(common)}
    columns |= {label: len(common) + crc32(label.encode("utf-8", "surrogatepass")) % few for label, _ in rest}
    table = np.zeros((len(by_label), alone + few))
    for row, given in enumerate(by_label):
        if given is not None:
            places = [columns.get(label, alone + row % few) for label in given]
            values = np.array(given.counts)
            table[row] = np.bincount(places, values / values.max(), alone + few)
    return np.ascontiguousarray(table[:, table.any(axis=0)])
