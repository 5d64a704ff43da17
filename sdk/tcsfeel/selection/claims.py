"""Replace claims that are far beyond the rest of the fleet, so that they do not buy a place in every round.

Nobody checks what a client says about its data, its processor and its link, so a false claim should bring no advantage.
So a claim that is more than `BELIEVED` times better than the median of the candidates is replaced by it. A strategy may
like exactly such a median client best in every round. So a client whose claims are not believed takes part only when
its participation debt says that it is due.

Nothing changes if all claims are within that factor, or if there are fewer than `ENOUGH` candidates. If no set of
clients meets the policy without the claims, all are used as they are. The processor is no longer judged once the time
of a fit has been measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.columns import Columns
from tcsfeel.selection.debt import participation_debt
from tcsfeel.selection.types import Candidate, History, SelectionPolicy

BELIEVED = 20.0
ENOUGH = 4  # candidates, below which a median says little about what is usual
NEARLY = BELIEVED * (1 - 1e-9)  # where a claim is looked at exactly
OWED = -1e-9  # a debt of at least this counts as 0 or more, because of rounding


@dataclass(frozen=True, slots=True)
class Believed:
    """The candidates as the strategies see them.

    Attributes:
        candidates: in the given order, with medians in place of claims that are not believed.
        doubts: what is not believed of a candidate, in words, by its position.
        waiting: the positions of those doubted candidates that have to wait for their turn.
    """

    candidates: Candidates
    doubts: Mapping[int, str] = field(default_factory=dict)
    waiting: frozenset[int] = frozenset()

    def reasons(self) -> dict[str, str]:
        """Return why candidates have to wait, by their ids."""
        why = "its claims are implausible, so it is only selected when it is due"
        return {
            self.candidates[position].client_id: f"{why}: {self.doubts[position]}" for position in sorted(self.waiting)
        }


def believed(candidates: Sequence[Candidate], history: History, policy: SelectionPolicy) -> Believed:
    """Return the candidates with believable claims, and say which of them have to wait."""
    given = Candidates.of(candidates)
    if len(given) < ENOUGH:
        return Believed(given)
    columns = given.columns
    usual = _Usual.of(columns, policy.model_bytes)
    doubts = {position: doubt for position in usual.dubious(columns) if (doubt := usual.doubt(given[position]))}
    if not doubts:
        return Believed(given)
    debt = participation_debt(given.ids, history, given.places)
    taken = list(given)
    for position in doubts:
        taken[position] = usual.believed(taken[position])
    newest = columns.changed(list(doubts), [taken[position] for position in doubts])
    return Believed(
        Candidates.of(taken, newest, given.ids, given.places),
        doubts,
        frozenset(position for position in doubts if debt[position] < OWED),
    )


@dataclass(frozen=True, slots=True)
class _Usual:
    """The medians of a fleet's claims. `transfer` is in seconds for one model, and `per_mb` in s/MB."""

    data_size: float
    compute: float
    bandwidth: float
    latency: float
    per_mb: float
    transfer: float
    model_bytes: int

    @classmethod
    def of(cls, columns: Columns, model_bytes: int) -> "_Usual":
        """Find the medians of the claims. Of an even number of claims it takes the more modest one in the middle."""
        return cls(
            data_size=_median_low(columns.data_size),
            compute=_median_low(columns.compute_capacity),
            bandwidth=_median_low(columns.bandwidth),
            latency=_median_high(columns.latency),
            per_mb=_median_high(columns.per_mb),
            transfer=_median_high(columns.transfer_seconds(model_bytes)),
            model_bytes=model_bytes,
        )

    def dubious(self, columns: Columns) -> list[int]:
        """Return the positions of the candidates that may have a claim that is not believed, and of few others."""
        much = (columns.data_size > NEARLY * self.data_size) | (columns.bandwidth > NEARLY * self.bandwidth)
        strong = np.isnan(columns.train_seconds) & (columns.compute_capacity > NEARLY * self.compute)
        near = columns.transfer_seconds(self.model_bytes) * NEARLY < self.transfer
        return np.flatnonzero(much | strong | near).tolist()

    def doubt(self, one: Candidate) -> str:
        """Say in words what is not believed of a candidate; empty if everything is believed."""
        doubts = []
        if self._has_too_much(one):
            doubts.append(f"data_size {one.data_size} (median {int(self.data_size)})")
        if self._is_too_strong(one):
            doubts.append(f"compute_capacity {one.compute_capacity:.3g} (median {self.compute:.3g})")
        if self._is_too_near(one):
            seconds = one.transfer_seconds(self.model_bytes)
            doubts.append(f"{seconds:.3g} s for a transfer (median {self.transfer:.3g})")
        return ", ".join(doubts)

    def believed(self, one: Candidate) -> Candidate:
        """Return the candidate with medians in place of the claims that are not believed."""
        if self._has_too_much(one):
            one = replace(one, data_size=int(self.data_size))
        if self._is_too_strong(one):
            one = replace(one, compute_capacity=self.compute)
        if self._is_too_near(one):
            cost = None if one.server_cost is None else self.per_mb
            one = replace(one, bandwidth=self.bandwidth, latency=self.latency, server_cost=cost)
        return one

    def _has_too_much(self, one: Candidate) -> bool:
        return one.data_size > BELIEVED * self.data_size

    def _is_too_strong(self, one: Candidate) -> bool:
        return one.train_seconds is None and one.compute_capacity > BELIEVED * self.compute

    def _is_too_near(self, one: Candidate) -> bool:
        near = one.transfer_seconds(self.model_bytes) * BELIEVED < self.transfer
        return near or one.bandwidth > BELIEVED * self.bandwidth


def _median_low(values: npt.NDArray[np.float64]) -> float:
    return _at(values, (len(values) - 1) // 2)


def _median_high(values: npt.NDArray[np.float64]) -> float:
    return _at(values, len(values) // 2)


def _at(values: npt.NDArray[np.float64], place: int) -> float:
    return float(np.partition(values, place)[place])
