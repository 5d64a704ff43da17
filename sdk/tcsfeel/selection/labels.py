"""Compare the candidates' labels, alone and pooled.

A distribution is shares or counts, by position or by label; only its shape is used, `data_size` says how much there is
of it. A client that does not report counts as neutral: its samples are distributed like everybody's together, so it
neither helps nor harms the balance of a set, and with no reports at all every set is balanced.

Memory and time are linear in what is reported: where clients name so many labels of their own that a column for each
would be more than that, rare labels share columns. Fleets with up to `FEW_LABELS` labels never come to that, nor do
those whose clients report most of the labels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import chain
from zlib import crc32

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.distributions import ByLabel, Packer
from tcsfeel.selection.types import DataDistribution

Floats = npt.NDArray[np.float64]

FEW_LABELS = 1024
ROUNDING = 1e-12  # a share that differs from the global one by less does not differ


@dataclass(frozen=True)
class Labels:
    """Labels of N candidates over C labels (C = 1 when nobody reports).

    Attributes:
        shares: (N, C) each client's label shares, summing to 1; the global ones for a client that does not report.
        overall: (C,) the global shares p*, weighted by the samples of the clients that report.
        reported: (N,) bool, whether the client reports labels.
    """

    shares: Floats
    overall: Floats
    reported: npt.NDArray[np.bool_]

    @property
    def skew(self) -> Floats:
        """Return (N, C) how each client's shares differ from the global ones; exactly 0 for mere rounding."""
        difference = self.shares - self.overall
        return np.where(np.abs(difference) > ROUNDING, difference, 0.0)

    def divergences(self) -> Floats:
        """Return (N,) KL(client || global) in nats of every client; 0 for one that does not report."""
        return kl_divergence(self.shares, self.overall)

    def pooled_divergence(self, members: Sequence[int], weights: Floats) -> float | None:
        """Return KL(pooled || global) in nats of the labels that `members` report; None if none of them reports.

        Args:
            members: positions of candidates.
            weights: (N,) expected samples of each candidate, above 0.
        """
        reporting = [member for member in members if self.reported[member]]
        if not reporting:
            return None
        pooled = weights[reporting] @ self.shares[reporting]
        return float(kl_divergence(pooled / pooled.sum(), self.overall))


def read_labels(distributions: Sequence[DataDistribution | None], samples: Floats) -> Labels:
    """Bring distributions to one set of labels.

    Lists are aligned by position, shorter ones padded with zeros; maps by label, where position i and label "i" are
    the same thing, so that both forms mix.

    Args:
        distributions: of N clients, each at least 0 and not all zero, or None.
        samples: (N,) how many samples each client has, above 0.
    """
    shares, reported = _table(distributions)
    if not reported.any():
        return Labels(np.ones((len(shares), 1)), np.ones(1), reported)
    # By the largest first: a sum of huge counts overflows, a sum of shares of the largest cannot.
    shares[reported] /= shares[reported].max(axis=1, keepdims=True)
    shares[reported] /= shares[reported].sum(axis=1, keepdims=True)
    overall = samples[reported] @ shares[reported]
    overall /= overall.sum()
    shares[~reported] = overall
    return Labels(shares, overall, reported)


def kl_divergence(shares: Floats, reference: Floats) -> Floats:
    """Return KL(shares || reference) in nats over the last axis: 0·log 0 is 0.

    Args:
        shares: (..., C) summing to 1, zero wherever `reference` is, or too small to tell.
        reference: (C,) summing to 1.
    """
    present = (shares > 0) & (reference > 0)
    ratio = np.divide(shares, reference, out=np.ones_like(shares), where=present)
    return np.asarray(np.maximum((shares * np.log(ratio)).sum(axis=-1), 0.0))


def _table(distributions: Sequence[DataDistribution | None]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(N, C) as given, or relative to the row's largest; (N,) whether anything is. A list has positions as labels."""
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
    """Return how many columns a table may have, so that it has about as many cells as reported values."""
    return max(FEW_LABELS, sum(0 if one is None else len(one) for one in reports) // len(reports))


def _merged(by_label: Sequence[ByLabel | None]) -> Floats:
    """(N, at most FEW_LABELS) relative to the row's largest value, for tables that would have too many columns.

    The labels that most clients report have columns of their own. All labels that a client shares with nobody have one
    together, since their shares are in a constant ratio to the global ones: divergences stay what they are. Labels that
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
