"""What relays have measured of the links to their children, and how much of it is believed.

A relay says for how many seconds the update of a child was on the link between them. It can say so only of children
that the server has hung below it. What it says may be false in either direction:

- A link that looks cheap brings a relay more children, whose updates it sees. A link that looks costly rids it of them.
  So a measured cost counts as at most `MOST_TIMES` the claimed one, and as at least that share of it.
- A single measurement says little, so the moving average of them counts.
- A link that has become costly is not used any more, so nobody would measure it again. Measurements that are older than
  `FORGOTTEN_SECONDS` are forgotten, and the claimed cost holds again.

The claimed cost is that of the matrix that people or programs have stored. The matrix gets another version with a
measured cost only if that differs by more than `NOTICEABLE` from the cost that it has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from app.domain.clients import moving_average

LEAST_BYTES = 1 << 18  # of an update: the time of a smaller one says more about latency
MEGABYTE = 1e6  # bytes
MOST_TIMES = 8.0
NOTICEABLE = 0.2
FORGOTTEN_SECONDS = 7 * 24 * 3600.0

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLink:
    """The link between two clients as relays have measured it. Costs are in seconds per megabyte.

    Attributes:
        source, target: the two clients, in the order of their ids.
        measured: the moving average of the measurements.
        measurements: how many there were.
        measured_at: when the last one came, unix seconds.
        claimed: the cost in the matrix before it followed the measurements; None if it does not follow them yet.
    """

    source: str
    target: str
    measured: float
    measurements: int
    measured_at: float
    claimed: float | None = None

    @property
    def pair(self) -> Pair:
        return self.source, self.target

    def observed(self, cost: float, now: float) -> "MeasuredLink":
        """Return the link after one more measurement."""
        average = moving_average(self.measured, cost)
        return replace(self, measured=average, measurements=self.measurements + 1, measured_at=now)

    def believed(self, claimed: float) -> float:
        """Return the cost that is believed of a link with a claimed one."""
        return min(max(self.measured, claimed / MOST_TIMES), claimed * MOST_TIMES)


def pair_of(one: str, other: str) -> Pair:
    """Return the key of the link between two clients."""
    return (one, other) if one < other else (other, one)


def measured_cost(seconds: float, size: int) -> float | None:
    """Return the cost (s/MB) of a link that has carried `size` bytes in some seconds; None if that says nothing."""
    return seconds / (size / MEGABYTE) if seconds > 0 and size >= LEAST_BYTES else None


class Fed(NamedTuple):
    """What changes when the matrix follows the measurements.

    Attributes:
        costs: the new costs of links.
        claimed: the costs that links had before they followed their measurements.
        forgotten: links whose measurements are too old, or that the matrix does not have any more.
    """

    costs: dict[Pair, float]
    claimed: dict[Pair, float]
    forgotten: list[Pair]


def fed(links: Iterable[MeasuredLink], costs: Mapping[Pair, float], now: float) -> Fed:
    """Decide which costs of a matrix follow the measurements. `costs` has those of the links that it has."""
    found = Fed({}, {}, [])
    for link in links:
        present = costs.get(link.pair)
        if present is None:
            found.forgotten.append(link.pair)
            continue
        claimed = present if link.claimed is None else link.claimed
        old = now - link.measured_at > FORGOTTEN_SECONDS
        if old:
            found.forgotten.append(link.pair)
        wanted = claimed if old else link.believed(claimed)
        if link.claimed is None and not old:
            found.claimed[link.pair] = claimed
        if abs(wanted - present) > (0.0 if old else NOTICEABLE * present):
            found.costs[link.pair] = wanted
    return found
