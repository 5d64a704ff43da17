"""What clients say of their labels, packed: it is as before, and takes little memory."""

import tracemalloc

import numpy as np
import pytest

from tcsfeel.selection.distributions import ByLabel, ByPosition, Packer, plain
from tcsfeel.selection.labels import read_labels
from tcsfeel.selection.types import DataDistribution


@pytest.mark.parametrize("given", [[3.0, 0.0, 1.5], [2], {"b": 1.0, "a": 0.0}, {"one": 3}])
def test_a_packed_distribution_is_the_one_that_was_given(given: DataDistribution) -> None:
    packed = Packer().packed(given)
    assert packed == given
    assert given == packed
    assert plain(packed) == given
    assert list(packed) == list(given)
    assert repr(packed) == repr(plain(packed))
    assert Packer().packed(packed) is packed


@pytest.mark.parametrize("other", [[3.0], [3.0, 2.0], [3.0, 1.0, 0.0], "31", b"31", 3])
def test_other_counts_are_not_equal(other: object) -> None:
    assert Packer().packed([3.0, 1.0]) != other


def test_counts_are_found_by_position_and_by_label() -> None:
    positions, labels = Packer().packed([3.0, 0.0, 1.5]), Packer().packed({"b": 1.0, "a": 0.5})
    assert isinstance(positions, ByPosition)
    assert isinstance(labels, ByLabel)
    assert (positions[2], list(positions[:2]), labels["a"]) == (1.5, [3.0, 0.0], 0.5)
    with pytest.raises(KeyError):
        labels["c"]


def test_what_is_plain_stays_as_it_is() -> None:
    assert plain(None) is None
    assert plain((1.0, 2.0)) == [1.0, 2.0]


def test_clients_with_the_same_labels_share_their_names() -> None:
    packer = Packer()
    one, other = packer.by_label({"0": 1.0, "1": 2.0}), packer.by_label([5.0, 6.0])
    assert one.names is other.names
    assert dict(other) == {"0": 5.0, "1": 6.0}


def test_a_thousand_labels_of_a_client_take_little_more_than_their_numbers() -> None:
    packer, clients, labels = Packer(), 100, 1000
    tracemalloc.start()
    try:
        kept = [packer.packed({f"label {label}": label + 0.5 for label in range(labels)}) for _ in range(clients)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == clients
    assert size < 2 * 8 * clients * labels


@pytest.mark.parametrize(
    "given",
    [
        [[3.0, 1.0], None, [0.0, 0.0], [1.0, 2.0, 7.0]],
        [{"a": 3.0, "b": 1.0}, None, {"a": 0.0}, {"c": 2.0, "a": 7.0}],
        [{"1": 3.0, "b": 1.0}, [5.0, 6.0], None],
        [{f"{one}-{label}": 1.0 + label for label in range(900)} | {"shared": 2.0} for one in range(3)],
    ],
)
def test_labels_are_the_same_to_the_bit_whether_they_come_packed(given: list[DataDistribution | None]) -> None:
    packer, samples = Packer(), np.arange(1.0, len(given) + 1)
    packed = [None if one is None else packer.packed(one) for one in given]
    as_given, as_packed = read_labels(given, samples), read_labels(packed, samples)
    assert np.array_equal(as_given.shares, as_packed.shares)
    assert np.array_equal(as_given.overall, as_packed.overall)
    assert np.array_equal(as_given.reported, as_packed.reported)
