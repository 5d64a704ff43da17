"""Jain's index."""

import pytest

from tcsfeel.selection.fairness import jain_index


@pytest.mark.parametrize(
    ("counts", "index"),
    [
        ([3, 3, 3], 1.0),
        ([5, 0, 0, 0], 0.25),  # 25 / (4 * 25)
        ([1, 2, 3], 36 / 42),  # 6^2 / (3 * 14)
        ([0, 0], 1.0),
        ([], 1.0),
    ],
)
def test_evenness_of_counts(counts: list[float], index: float) -> None:
    assert jain_index(counts) == pytest.approx(index)
