import numpy as np
import pytest

from app.demo.digits import CLASSES, partition, shards

DIGITS = 1797
LABELS = np.repeat(np.arange(CLASSES), 100)


@pytest.mark.parametrize(("clients", "least"), [(10, 5), (50, 5), (200, 2)])
def test_every_row_goes_to_exactly_one_client_and_everybody_gets_some(clients: int, least: int) -> None:
    parts = partition(LABELS, clients, 0.3, np.random.default_rng(1))
    assert len(parts) == clients
    assert sorted(np.concatenate(parts)) == list(range(len(LABELS)))
    assert min(len(part) for part in parts) >= least


def test_a_smaller_concentration_makes_clients_more_one_sided() -> None:
    def largest_share(concentration: float) -> float:
        """Of a client's most frequent label, on average."""
        parts = partition(LABELS, 50, concentration, np.random.default_rng(1))
        return float(np.mean([np.bincount(LABELS[part]).max() / len(part) for part in parts]))

    assert largest_share(1000) < 0.2
    assert largest_share(0.3) > 0.35
    assert largest_share(0.05) > largest_share(0.3)


@pytest.mark.parametrize("clients", [10, 50, 200])
def test_all_digits_are_dealt_out_and_about_a_fifth_of_each_shard_is_held_out(clients: int) -> None:
    dealt = shards(clients, np.random.default_rng(1))
    trained = sum(len(shard.train_labels) for shard in dealt)
    held_out = sum(len(shard.test_labels) for shard in dealt)
    assert trained + held_out == DIGITS
    assert held_out == pytest.approx(0.2 * DIGITS, rel=0.1)
    assert all(len(shard.train_labels) and len(shard.test_labels) for shard in dealt)
    assert all(shard.train_inputs.shape == (len(shard.train_labels), 64) for shard in dealt)
    assert max(float(shard.train_inputs.max()) for shard in dealt) == 1.0


def test_the_same_seed_deals_the_same_digits() -> None:
    first, again, other = (shards(20, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert all((a.test_inputs == b.test_inputs).all() for a, b in zip(first, again, strict=True))
    assert [len(shard.test_labels) for shard in first] != [len(shard.test_labels) for shard in other]
