"""What traces tell: accuracy at the end, and what it took to get to where random selection ended.

The target of a seed is random selection's own final accuracy on that seed, the mean of its last 5 rounds. It counts as
reached after the first round at which the mean of the last 5 is at least that. Random selection itself reaches it at
the latest in its last round.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.selection.trial import Floats, Trace
from tcsfeel.selection.fairness import jain_index

WINDOW = 5  # rounds


class Way(NamedTuple):
    """What it took to reach a target: rounds, s of link time, s of modelled time; all inf where it was missed."""

    rounds: float
    cost: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One contender against random selection, (S,) values of S seeds.

    Attributes:
        final: accuracy at the end.
        gain: how much higher that is than random selection's.
        fewer_rounds: random selection's rounds to the target over its own; 0 where it missed.
        cost: its link time to the target over random selection's; inf where it missed.
        seconds: likewise, of modelled time.
        jain: index of how often each client was selected.
        selecting: s of one selection.
    """

    final: Floats
    gain: Floats
    fewer_rounds: Floats
    cost: Floats
    seconds: Floats
    jain: Floats
    selecting: Floats

    @classmethod
    def of(cls, traces: Sequence[Trace], baseline: Sequence[Trace]) -> "Comparison":
        """Compare traces with those of random selection on the same seeds."""
        targets = [final_accuracy(trace) for trace in baseline]
        own = [way(trace, target) for trace, target in zip(traces, targets, strict=True)]
        theirs = [way(trace, target) for trace, target in zip(baseline, targets, strict=True)]
        pairs = list(zip(own, theirs, strict=True))
        final = np.array([final_accuracy(trace) for trace in traces])
        return cls(
            final=final,
            gain=final - np.array(targets),
            fewer_rounds=np.array([base.rounds / mine.rounds for mine, base in pairs]),
            cost=np.array([mine.cost / base.cost for mine, base in pairs]),
            seconds=np.array([mine.seconds / base.seconds for mine, base in pairs]),
            jain=np.array([jain_index(trace.counts.tolist()) for trace in traces]),
            selecting=np.array([trace.selecting for trace in traces]),
        )

    @property
    def missed(self) -> int:
        """On how many seeds the target was not reached."""
        return int(np.isinf(self.cost).sum())


def smoothed(accuracy: Floats) -> Floats:
    """(R - WINDOW + 1,) means of `WINDOW` rounds in a row; at least one round is needed."""
    window = min(WINDOW, len(accuracy))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(accuracy, window).mean(axis=-1))


def final_accuracy(trace: Trace) -> float:
    """The mean of the last `WINDOW` rounds."""
    return float(smoothed(trace.accuracy)[-1])


def way(trace: Trace, target: float) -> Way:
    """What it took until the smoothed accuracy was `target`."""
    means = smoothed(trace.accuracy)
    reached = np.flatnonzero(means >= target)
    if not len(reached):
        return Way(math.inf, math.inf, math.inf)
    rounds = int(reached[0]) + len(trace.accuracy) - len(means) + 1
    return Way(rounds, float(trace.cost[:rounds].sum()), float(trace.seconds[:rounds].sum()))


def standard_error(values: Floats) -> float:
    """Of the mean of (S,) values; 0 of a single one, of which nothing is known."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table and how its cells are written."""

    title: str
    cell: Callable[[Comparison], str]


def _spread(values: Floats, digits: int) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def _ratio(values: Floats, found: Comparison) -> str:
    """Median over all seeds, missed ones counted as worst, and range over those that reached the target."""
    reached = values[np.isfinite(found.cost)]
    missed = f"missed {found.missed}/{len(values)}"
    if not len(reached):
        return missed
    if 2 * found.missed >= len(values):
        return f"{missed} (else {reached.min():.2f} to {reached.max():.2f})"
    told = f"{statistics.median(values):.2f}x ({reached.min():.2f} to {reached.max():.2f})"
    return f"{told}, {missed}" if found.missed else told


COLUMNS = (
    Column("final accuracy", lambda found: _spread(found.final, 3)),
    Column("gain, mean ± SE", lambda found: f"{found.gain.mean():+.4f} ± {standard_error(found.gain):.4f}"),
    Column("fewer rounds", lambda found: _ratio(found.fewer_rounds, found)),
    Column("cost", lambda found: _ratio(found.cost, found)),
    Column("time", lambda found: _ratio(found.seconds, found)),
    Column("Jain", lambda found: f"{np.median(found.jain):.3f}"),
    Column("ms", lambda found: f"{1000 * np.median(found.selecting):.1f}"),
)
