"""Label shares, how far apart they are, and what a set's pooled labels look like."""

import math

import numpy as np
import pytest

from app.domain.selection.labels import kl_divergence, read_labels
from app.domain.selection.types import DataDistribution


def test_counts_and_shares_of_any_length_and_form_come_to_one_set_of_labels() -> None:
    labels = read_labels([[3, 1], {"1": 0.5, "cat": 0.5}, None], np.array([0.5, 1.0, 1.0]))

    # labels 0, 1, cat; global = (0.5 * (3/4, 1/4, 0) + 1 * (0, 1/2, 1/2)) / 1.5, and that for who does not report
    overall = [0.375 / 1.5, 0.625 / 1.5, 0.5 / 1.5]
    assert labels.overall.tolist() == pytest.approx(overall)
    assert labels.shares[0].tolist() == pytest.approx([0.75, 0.25, 0])
    assert labels.shares[1].tolist() == pytest.approx([0, 0.5, 0.5])
    assert labels.shares[2].tolist() == pytest.approx(overall)
    assert labels.reported.tolist() == [True, True, False]
    assert labels.skew[2].tolist() == [0, 0, 0]


def test_shorter_lists_are_padded() -> None:
    labels = read_labels([[3, 1], [0, 1, 1]], np.array([1.0, 1.0]))

    assert labels.shares.tolist() == [[0.75, 0.25, 0], [0, 0.5, 0.5]]
    assert labels.overall.tolist() == [0.375, 0.375, 0.25]
    assert labels.skew.tolist() == [[0.375, -0.125, -0.25], [-0.375, 0.125, 0.25]]


def test_one_label_is_a_report_as_well() -> None:
    labels = read_labels([[5], [2], None], np.array([1.0, 1.0, 1.0]))

    assert labels.reported.tolist() == [True, True, False]
    assert labels.shares.tolist() == [[1], [1], [1]]


@pytest.mark.parametrize("distributions", [[[1, 1], [], [0]], [{"0": 1, "1": 1}, {}, {"1": 0}], [[1, 1], {}, [0]]])
def test_who_counts_nothing_reports_nothing(distributions: list[DataDistribution]) -> None:
    labels = read_labels(distributions, np.array([1.0, 1.0, 1.0]))

    assert labels.reported.tolist() == [True, False, False]
    assert labels.shares.tolist() == [[0.5, 0.5]] * 3


def test_kl_divergence_by_hand() -> None:
    # (1, 0) from (1/2, 1/2): 1 * ln 2; (1/2, 1/2) from itself: 0; (3/4, 1/4): 3/4 ln 3/2 + 1/4 ln 1/2
    shares = np.array([[1, 0], [0.5, 0.5], [0.75, 0.25]])

    divergence = kl_divergence(shares, np.array([0.5, 0.5]))

    assert divergence.tolist() == pytest.approx([math.log(2), 0, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)])


def test_labels_that_nobody_has_do_no_harm() -> None:
    labels = read_labels([[1, 0, 0], [0, 0, 1]], np.array([1.0, 1.0]))

    assert labels.divergences().tolist() == pytest.approx([math.log(2), math.log(2)])


def test_the_pool_of_opposites_is_balanced_when_weights_are() -> None:
    labels = read_labels([[1, 0], [0, 1], None], np.array([1.0, 1.0, 1.0]))

    assert labels.pooled_divergence([0, 1], np.array([1.0, 1.0, 1.0])) == pytest.approx(0)
    # 3/4 and 1/4 of what is expected to arrive
    skewed = labels.pooled_divergence([0, 1, 2], np.array([0.9, 0.3, 1.0]))
    assert skewed == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert labels.pooled_divergence([2], np.array([1.0, 1.0, 1.0])) is None


def test_without_reports_there_is_one_label() -> None:
    labels = read_labels([None, [0, 0]], np.array([1.0, 1.0]))

    assert labels.shares.tolist() == [[1], [1]]
    assert not labels.reported.any()
    assert labels.divergences().tolist() == [0, 0]


def test_huge_and_tiny_counts_neither_overflow_nor_vanish() -> None:
    labels = read_labels([[1e308, 1e308], [1e-308, 1e-308]], np.array([1.0, 1e-12]))

    assert labels.shares.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_share_so_small_that_the_global_one_is_lost_adds_nothing() -> None:
    labels = read_labels([[1.0, 5e-324], [1.0, 0.0]], np.array([1.0, 9.0]))  # 5e-324: the smallest float there is
    assert labels.shares[0, 1] > 0
    assert labels.overall.tolist() == [1.0, 0.0]
    assert labels.divergences().tolist() == [0.0, 0.0]
