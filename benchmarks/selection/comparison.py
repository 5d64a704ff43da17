"""Compare traces: the accuracy at the end, and the cost until the final accuracy of random selection is reached.

The target of a seed is the final accuracy of random selection with that seed, which is the mean of its last 5 rounds.
It is reached after the first round at which the mean of the last 5 rounds is at least the target. So random selection
itself reaches it in its last round or earlier.
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
    """The cost of reaching a target: rounds, link time and modelled time in seconds. All are inf if it was missed."""

    rounds: float
    cost: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A contender compared with random selection, with values (S,) for S seeds.

    Attributes:
        final: the accuracy at the end.
        gain: how much higher that is than with random selection.
        fewer_rounds: the rounds to the target of random selection divided by its own; 0 if it missed the target.
        cost: its link time to the target divided by that of random selection; inf if it missed the target.
        seconds: the same for the modelled time.
        jain: Jain's index of how often each client was selected.
        selecting: the seconds of one selection.
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
        """Return the number of seeds with which the target was not reached."""
        return int(np.isinf(self.cost).sum())


def smoothed(accuracy: Floats) -> Floats:
    """Return the means (R - `WINDOW` + 1,) of `WINDOW` rounds in a row. At least one round is needed."""
    window = min(WINDOW, len(accuracy))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(accuracy, window).mean(axis=-1))


def final_accuracy(trace: Trace) -> float:
    """Return the mean accuracy of the last `WINDOW` rounds."""
    return float(smoothed(trace.accuracy)[-1])


def way(trace: Trace, target: float) -> Way:
    """Return the cost until the smoothed accuracy was at least `target`."""
    means = smoothed(trace.accuracy)
    reached = np.flatnonzero(means >= target)
    if not len(reached):
        return Way(math.inf, math.inf, math.inf)
    rounds = int(reached[0]) + len(trace.accuracy) - len(means) + 1
    return Way(rounds, float(trace.cost[:rounds].sum()), float(trace.seconds[:rounds].sum()))


def standard_error(values: Floats) -> float:
    """Return the standard error of the mean of values (S,). It is 0 for a single value, where it is unknown."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table, and the format of its cells."""

    title: str
    cell: Callable[[Comparison], str]


def _spread(values: Floats, digits: int) -> str:
    """Format the median and the range."""
    return f"{statistics.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def _ratio(values: Floats, found: Comparison) -> str:
    """Format the median over all seeds, where missed ones are the worst, and the range of those that reached it."""
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
