"""Measure how evenly clients take part."""

from collections.abc import Sequence


def jain_index(counts: Sequence[float]) -> float:
    """Return Jain's fairness index of `counts`: 1 if all are equal, 1/n if one of n clients has everything.

    Without counts, or if all are 0, it returns 1. Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness
    and Discrimination for Resource Allocation in Shared Computer Systems", DEC-TR-301, 1984.
    """
    squares = sum(count * count for count in counts)
    return 1.0 if squares == 0 else sum(counts) ** 2 / (len(counts) * squares)
