"""Label shares, how far apart they are, and what a set's pooled labels look like."""

import math

import numpy as np
import pytest

from tcsfeel.selection.distributions import Packer
from tcsfeel.selection.labels import FEW_LABELS, kl_divergence, read_labels
from tcsfeel.selection.types import DataDistribution


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


def with_labels_of_their_own(clients: int, own: int) -> list[DataDistribution]:
    """Each client reports labels that all have, as many of its own, and one that it shares with its neighbour."""
    return [
        {f"shared {label}": float(1 + (number * label) % 5) for label in range(5)}
        | {f"{number}'s {label}": float(1 + label % 3) for label in range(own)}
        | {f"of two {number // 2}": 2.0}
        for number in range(clients)
    ]


def test_up_to_a_thousand_labels_have_columns_of_their_own() -> None:
    distributions: list[DataDistribution] = [{f"{number} {label}": 1.0 for label in range(512)} for number in (0, 1)]
    labels = read_labels([*distributions, *[{"0 0": 1.0}] * 100], np.ones(102))
    assert labels.shares.shape == (102, FEW_LABELS)
    assert labels.shares[0].tolist() == [1 / 512] * 512 + [0.0] * 512


def test_dense_reports_have_a_column_for_every_label() -> None:
    assert read_labels([[1.0] * 3000] * 3, np.ones(3)).shares.shape == (3, 3000)


def test_labels_that_nobody_shares_are_merged_without_changing_divergences() -> None:
    distributions = with_labels_of_their_own(40, 60)
    names = list(dict.fromkeys(label for one in distributions for label in one))
    assert len(names) == 5 + 40 * 60 + 20
    full = np.array([[dict(one).get(name, 0.0) for name in names] for one in distributions])  # type: ignore[arg-type]  # maps
    full /= full.sum(axis=1, keepdims=True)
    samples = np.linspace(0.5, 1.0, 40)
    overall = samples @ full / samples.sum()

    labels = read_labels(distributions, samples)
    assert labels.shares.shape == (40, 5 + 20 + 40)
    assert labels.divergences().tolist() == pytest.approx(kl_divergence(full, overall).tolist())
    assert labels.shares.sum(axis=1).tolist() == pytest.approx([1.0] * 40)


def test_labels_of_few_share_columns_where_there_are_too_many_of_them() -> None:
    pairs: list[DataDistribution] = [{f"{number // 2} {label}": 1e308 for label in range(100)} for number in range(100)]
    labels = read_labels([*pairs, *[[1.0, 1.0]] * 900], np.ones(1000))
    assert labels.shares.shape[1] <= FEW_LABELS
    assert np.isfinite(labels.shares).all()
    assert labels.shares[0].tolist() == labels.shares[1].tolist()
    assert labels.shares[0].tolist() != labels.shares[2].tolist()
    assert np.allclose(labels.shares.sum(axis=1), 1.0)
    assert labels.shares[-1].max() == 0.5  # labels that many have are kept apart


def test_labels_that_share_columns_share_none_with_labels_of_many_or_of_one_client() -> None:
    # JSON may have lone surrogates, which UTF-8 has no bytes for
    pairs: list[DataDistribution] = [
        {f"\ud800 {number // 2} {label}": 1.0 for label in range(100)} for number in range(100)
    ]
    many: list[DataDistribution] = [{"\ue000": 1.0, "\ue001": 1.0}] * 900
    of_one: list[DataDistribution] = [{"a label": 1.0}, {"another": 1.0}]
    shares = read_labels([*pairs, of_one[0], *many[:155], of_one[1], *many[155:]], np.ones(1002)).shares
    of_pairs = (shares[:100] > 0).any(axis=0)
    assert shares[:100:2].tolist() == shares[1:100:2].tolist()
    for row in (100, 256, -1):
        assert not shares[row, of_pairs].any()


@pytest.mark.parametrize("form", ["list", "map"])
def test_a_client_with_many_labels_of_its_own_costs_no_columns_for_all(form: str) -> None:
    many = [1.0] * 100_000
    strange: DataDistribution = many if form == "list" else {str(place): value for place, value in enumerate(many)}
    labels = read_labels([*[[1.0, 1.0]] * 999, strange], np.ones(1000))
    assert labels.shares.shape == (1000, 3)  # 0, 1, and all others
    assert labels.shares[-1].tolist() == pytest.approx([1e-5, 1e-5, 1 - 2e-5])


def test_what_is_kept_of_the_last_clients_is_not_taken_for_that_of_others() -> None:
    packer = Packer()
    one, other, third = map(packer.packed, ([3, 1], [0, 4], [1, 1]))
    even, uneven = np.ones(2), np.array([1.0, 0.5])
    assert read_labels([one, other], even).overall.tolist() == [0.375, 0.625]
    assert read_labels([one, other], uneven).overall.tolist() == [0.5, 0.5], "(0.75, 0.25 + 0.5) / 1.5"
    assert read_labels([one, None], even).shares.tolist() == [[0.75, 0.25]] * 2
    assert read_labels([one, third], even).shares.tolist() == [[0.75, 0.25], [0.5, 0.5]]
    assert read_labels([third, one], even).shares.tolist() == [[0.5, 0.5], [0.75, 0.25]]
    assert read_labels([one], even[:1]).shares.tolist() == [[0.75, 0.25]]


def test_a_list_that_was_changed_in_place_is_read_again() -> None:
    given = [3.0, 1.0]
    before = read_labels([given], np.ones(1)).overall.tolist()
    given[0] = 1.0
    assert (before, read_labels([given], np.ones(1)).overall.tolist()) == ([0.75, 0.25], [0.5, 0.5])


def test_clients_that_report_nothing_but_an_empty_list_report_nothing() -> None:
    assert not read_labels([Packer().packed([])], np.ones(1)).reported.any()
