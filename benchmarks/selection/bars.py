"""Define by how much `tcs-feel` has to be better than random selection, and tell whether it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.selection.comparison import Comparison, standard_error
from benchmarks.selection.trial import Setting

SUBJECT, RELAYED = "tcs-feel", "tcs-feel + relay"
SIZES = (50, 100)
FEWER_ROUNDS, SECONDS, JAIN, RELAYED_COST = 1.4, 0.55, 0.9, 0.35

Results = Mapping[Setting, Mapping[str, Comparison]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar in a setting, with the figure that was measured."""

    bar: str
    held: bool

    def __str__(self) -> str:
        return f"{self.bar}: {'holds' if self.held else 'MISSED'}"


def verdicts(results: Results) -> list[Verdict]:
    """Judge every bar for which there are results, by medians over the seeds."""
    return [
        verdict
        for setting, found in results.items()
        if setting.clients in SIZES
        for verdict in _of_setting(setting, found)
    ]


def _of_setting(setting: Setting, found: Mapping[str, Comparison]) -> Iterator[Verdict]:
    where = f"{setting.dataset} {setting.partition} N={setting.clients}"
    subject, relayed = found.get(SUBJECT), found.get(RELAYED)
    if setting.partition == "shards-2" and subject:
        fewer, seconds, jain = (
            float(np.median(values)) for values in (subject.fewer_rounds, subject.seconds, subject.jain)
        )
        yield Verdict(f"{where}, {fewer:.2f} times fewer rounds, bar {FEWER_ROUNDS:g}", fewer >= FEWER_ROUNDS)
        yield Verdict(f"{where}, time {seconds:.2f}, bar {SECONDS:g}", seconds <= SECONDS)
        yield Verdict(f"{where}, Jain {jain:.3f}, bar {JAIN:g}", jain >= JAIN)
    if setting.partition == "dirichlet-0.3" and subject:
        gain, error = float(subject.gain.mean()), standard_error(subject.gain)
        yield Verdict(f"{where}, accuracy {gain:+.4f}, bar {-error:.4f} (one standard error)", gain >= -error)
    if setting.partition in {"shards-2", "dirichlet-0.3"} and relayed:
        cost = float(np.median(relayed.cost))
        yield Verdict(f"{where}, cost with relays {cost:.2f}, bar {RELAYED_COST:g}", cost <= RELAYED_COST)
