"""Measure how evenly clients take part."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from tcsfeel.selection.types import History


def jain_index(counts: Sequence[float], *, of: int | None = None) -> float:
    """Return Jain's fairness index of `counts`: 1 if all are equal, 1/n if one of n clients has everything.

    There are as many counts as `of` says, of which those are 0 that are not in `counts`.

    Without counts, or if all are 0, it returns 1. Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness
    and Discrimination for Resource Allocation in Shared Computer Systems", DEC-TR-301, 1984.
    """
    squares = sum(count * count for count in counts)
    return 1.0 if squares == 0 else sum(counts) ** 2 / ((len(counts) if of is None else of) * squares)


def evenness(client_ids: Collection[str], history: History, selected: Iterable[str]) -> float:
    """Return Jain's index of how often each client was selected in all rounds, with those that are `selected` now."""
    counts = Counter(client_id for chosen in history.rounds for client_id in chosen)
    counts.update(selected)
    there = [count for client_id, count in sorted(counts.items()) if client_id in client_ids]
    return jain_index(there, of=len(client_ids))
