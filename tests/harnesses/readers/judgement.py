"""Compare what readers and webhooks got with the log of events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

from app.domain.webhooks import HIDDEN
from tests.harnesses.readers.following import Reader, Receiver

MOST_PROBLEMS = 20  # that are listed


@dataclass(kw_only=True)
class Outcome:
    """The result of a run. `problems` is empty if every reader and every webhook got every event.

    `without` and `with_readers` have the seconds of a round in each window, and the CPU seconds of all replicas in it.
    """

    without: list[tuple[float, float]] = field(default_factory=list)
    with_readers: list[tuple[float, float]] = field(default_factory=list)
    events: int = 0
    kills: int = 0
    connections: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def slower(self) -> float:
        """By which part rounds are longer while there are readers; NaN if that was not measured."""
        if not self.without:
            return float("nan")
        return mean(one for one, _ in self.with_readers) / mean(one for one, _ in self.without) - 1


def judge(
    log: list[tuple[int, str]], readers: Sequence[Reader], receivers: Sequence[Receiver], outcome: Outcome
) -> None:
    """Compare what everybody got with the log."""
    everything, wanted = [number for number, _ in log], sent(log)
    outcome.events = len(log)
    outcome.connections = sum(reader.connections for reader in readers)
    found: list[str] = []
    for number, reader in enumerate(readers):
        came = [one for one in reader.ids if one <= everything[-1]]  # what came afterwards is not in the log
        if came != everything:
            missed, more = sorted(set(everything) - set(came)), len(came) - len(set(came))
            found.append(f"reader {number} missed {missed[:5]} ({len(missed)} in all), and got {more} twice")
        found += [f"reader {number} was answered {status}, {times} times" for status, times in reader.refused.items()]
    for number, receiver in enumerate(receivers):
        if not receiver.came.keys() >= wanted:
            missed = sorted(wanted - receiver.came.keys())
            found.append(f"webhook {number} missed {missed[:5]} ({len(missed)} in all)")
        found += receiver.wrong
        outcome.doubled += sum(times - 1 for times in receiver.came.values())
    outcome.problems += found[:MOST_PROBLEMS]


def sent(log: list[tuple[int, str]]) -> set[int]:
    """Return the ids of the events that webhooks send."""
    return {number for number, kind in log if not kind.startswith(HIDDEN)}
