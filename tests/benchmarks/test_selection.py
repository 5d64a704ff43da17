"""The parts of the selection benchmark whose arithmetic can be done by hand, and a short run of the whole."""

import gzip
import math
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from app.demo import mlp
from benchmarks.selection.bars import verdicts
from benchmarks.selection.comparison import COLUMNS, Comparison, Way, final_accuracy, way
from benchmarks.selection.data import digits, label_counts, mnist, partition
from benchmarks.selection.knowledge import LabelKnowledge, Sketches, reported
from benchmarks.selection.learning import Model, Recipe, Samples, federated_average, initial, local_training
from benchmarks.selection.rules import Rule
from benchmarks.selection.trial import Contender, Setting, Trace, bill, train
from benchmarks.selection.world import World
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection.types import Plan

RANDOM = Contender("random", "random")


def samples(count: int) -> Samples:
    rng = np.random.default_rng(0)
    return Samples(rng.random((count, 64), dtype=np.float32), rng.integers(0, 10, count))


def close(model: Model, expected: Mapping[str, npt.NDArray[np.float32]]) -> bool:
    return all(np.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(model, expected.values(), strict=True))


def test_clients_side_by_side_train_as_each_does_alone() -> None:
    known, rng = samples(12), np.random.default_rng(1)
    model = initial(64, rng)
    parts = [np.arange(3), np.arange(3, 12)]  # one and three steps in each of two epochs
    recipe = Recipe(epochs=2, batch=3, rate=0.1)
    updates, losses = local_training(model, known, parts, recipe, np.random.default_rng(2))
    order = np.random.default_rng(2)  # draws first for the first client, then for the second
    for client, part in enumerate(parts):
        alone = mlp.train(
            dict(zip(mlp.initial(rng), model, strict=True)),
            known.inputs[part],
            known.labels[part],
            epochs=recipe.epochs,
            rate=recipe.rate,
            batch=recipe.batch,
            rng=order,
        )
        assert close(Model(*(layer[client] for layer in updates)), alone)
    before = mlp.measure(dict(zip(mlp.initial(rng), model, strict=True)), known.inputs[:3], known.labels[:3])[0]
    assert 0 < losses[0] < before  # the first of its two steps has that loss, the second less


def test_a_last_batch_that_is_not_full_counts_its_own_samples_only() -> None:
    known, rng = samples(5), np.random.default_rng(1)
    model = initial(64, rng)
    updates, _ = local_training(model, known, [np.arange(5)], Recipe(1, 4, 0.1), np.random.default_rng(3))
    alone = mlp.train(
        dict(zip(mlp.initial(rng), model, strict=True)),
        *known,
        epochs=1,
        rate=0.1,
        batch=4,
        rng=np.random.default_rng(3),
    )
    assert close(Model(*(layer[0] for layer in updates)), alone)


def test_models_are_averaged_by_examples() -> None:
    updates = Model(*(np.array([1.0, 5.0], np.float32).reshape(2, *shape) for shape in ((1, 1), (1,), (1, 1), (1,))))
    assert [layer.item() for layer in federated_average(updates, np.array([30, 10]))] == [2.0] * 4


def test_the_rules_of_the_product_combine_the_models_of_the_benchmark() -> None:
    known, rng = samples(12), np.random.default_rng(1)
    model, recipe = initial(64, rng), Recipe(epochs=2, batch=3, rate=0.1)
    sizes, parts = np.array([3, 9]), [np.arange(3), np.arange(3, 12)]
    updates, _ = local_training(model, known, parts, recipe, rng)
    plain = federated_average(updates, sizes)._asdict()
    assert close(Rule("fedavg", recipe, sizes).combine(model, updates, [0, 1]), plain)
    assert not close(Rule("fednova", recipe, sizes).combine(model, updates, [0, 1]), plain)
    assert close(Rule("fednova", recipe, sizes).combine(model, updates, [0, 1], steps=[4, 4]), plain)

    scaffold = Rule("scaffold", recipe, sizes)
    assert scaffold.corrections([0, 1]) is None
    after = scaffold.combine(model, updates, [0, 1])
    assert close(after, federated_average(updates, np.array([1, 1]))._asdict())
    added = scaffold.corrections([0, 1])
    assert added is not None
    # c is the mean of what the two clients' gradients were, so the corrections cancel
    assert all(np.allclose(layer[0] + layer[1], 0, atol=1e-4) for layer in added)
    corrected, _ = local_training(after, known, parts, recipe, np.random.default_rng(4), corrections=added)
    alone = mlp.train(
        dict(zip(mlp.initial(rng), after, strict=True)),
        known.inputs[parts[0]],
        known.labels[parts[0]],
        epochs=recipe.epochs,
        rate=recipe.rate,
        batch=recipe.batch,
        rng=np.random.default_rng(4),
    )
    assert not close(Model(*(layer[0] for layer in corrected)), alone)


def test_shards_give_each_client_equal_parts_of_few_labels_and_every_row_once() -> None:
    labels = np.repeat(np.arange(10), 40)[np.random.default_rng(0).permutation(400)]
    parts = partition(labels, 20, "shards-2", np.random.default_rng(1))
    assert [len(part) for part in parts] == [20] * 20
    assert sorted(np.concatenate(parts)) == list(range(400))
    assert max(sum(count > 0 for count in label_counts(labels, part)) for part in parts) == 2
    with pytest.raises(ValueError, match="a partition is shards-S, dirichlet-A or iid"):
        partition(labels, 20, "even", np.random.default_rng(1))


@pytest.fixture
def world() -> World:
    """A relay at 1 s from the server, clients at 4 s and 5 s, 0.25 s and 0.5 s away from the relay."""
    ids = ("relay", "near", "far")
    return World(
        client_ids=ids,
        bandwidth=np.full(3, 8.0),
        latency=np.zeros(3),
        compute=np.ones(3),
        reliability=np.ones(3),
        train_seconds=np.array([10.0, 2.0, 20.0]),
        server_seconds=np.array([1.0, 4.0, 5.0]),
        links=Connectivity.from_edges(ids, [Edge("relay", "near", 0.25), Edge("relay", "far", 0.5)]),
    )


POSITION = {"relay": 0, "near": 1, "far": 2}
STAR = Plan("star", dict.fromkeys(POSITION))
TREE = Plan("relay", {"far": "relay", "relay": None, "near": "relay"})


def test_a_star_costs_two_transfers_a_client_and_waits_for_the_slowest_whoever_fails(world: World) -> None:
    for back in ([True, True, True], [False, True, False]):
        assert bill(world, POSITION, STAR, np.array(back)) == (2 * (1 + 4 + 5), 5 + 20 + 5)


def test_a_tree_costs_its_links_and_waits_through_the_relay(world: World) -> None:
    cost, seconds = bill(world, POSITION, TREE, np.array([True, False, True]))
    assert cost == 2 * (1 + 0.25 + 0.5)
    assert seconds == 1 + 0.5 + 20 + 0.5 + 1


def test_the_children_of_a_relay_that_failed_go_to_the_server_as_well(world: World) -> None:
    cost, seconds = bill(world, POSITION, TREE, np.array([False, True, True]))
    assert cost == 2 * (1 + 0.25 + 0.5) + 2 * (4 + 5)
    assert seconds == 1 + 0.5 + 20 + 0.5 + 1 + 2 * 5


def trace(accuracy: list[float], *, cost: float = 1.0, counts: tuple[int, ...] = (1, 1)) -> Trace:
    rounds = len(accuracy)
    return Trace(np.array(accuracy), np.full(rounds, cost), np.full(rounds, 2.0), np.array(counts), 0.01)


SLOW = trace([0.0] * 5 + [0.5] * 10)
QUICK = trace([0.5] * 15, cost=3.0, counts=(3, 1))
BAD = trace([0.4] * 15)


def test_a_target_is_reached_with_the_mean_of_five_rounds() -> None:
    assert final_accuracy(trace([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(0.3)
    assert way(SLOW, 0.5) == Way(10, 10.0, 20.0)
    assert way(QUICK, 0.5) == Way(5, 15.0, 10.0)
    assert way(BAD, 0.5) == Way(math.inf, math.inf, math.inf)


def test_what_it_took_is_compared_with_random_on_the_same_seed() -> None:
    found = Comparison.of([QUICK, BAD], [SLOW, SLOW])
    assert found.fewer_rounds.tolist() == [2.0, 0.0]
    assert found.cost.tolist() == [1.5, math.inf]
    assert found.seconds.tolist() == [0.5, math.inf]
    assert found.gain.tolist() == pytest.approx([0.0, -0.1])
    assert found.jain.tolist() == pytest.approx([16 / (2 * 10), 1.0])
    assert found.missed == 1


def test_a_cell_tells_the_median_and_how_often_the_target_was_missed() -> None:
    cells = {column.title: column.cell for column in COLUMNS}
    once = Comparison.of([QUICK, QUICK, BAD], [SLOW, SLOW, SLOW])
    assert cells["fewer rounds"](once) == "2.00x (2.00 to 2.00), missed 1/3"
    assert cells["cost"](once) == "1.50x (1.50 to 1.50), missed 1/3"
    assert cells["gain, mean ± SE"](once) == "-0.0333 ± 0.0333"  # 0, 0, -0.1: deviation 0.0577 over the root of 3
    often = Comparison.of([QUICK, BAD, BAD], [SLOW, SLOW, SLOW])
    assert cells["time"](often) == "missed 2/3 (else 0.50 to 0.50)"
    assert cells["time"](Comparison.of([BAD], [SLOW])) == "missed 1/1"


def test_each_bar_is_missed_just_beyond_its_figure() -> None:
    shards, mild = Setting("digits", "shards-2", 50, 10, 15), Setting("digits", "dirichlet-0.3", 100, 10, 15)
    three = np.zeros(3)
    good = Comparison(
        final=three, gain=three, fewer_rounds=three + 1.4, cost=three + 0.35, seconds=three + 0.55, jain=three + 0.9,
        selecting=three,
    )  # fmt: skip
    worse = replace(
        good,
        fewer_rounds=np.array([9.0, 1.39, 1.39]),
        cost=np.array([0.1, 0.36, 0.36]),
        seconds=np.array([0.1, 0.56, 0.56]),
        jain=np.array([1.0, 0.89, 0.89]),
        gain=np.array([-0.02, -0.02, -0.03]),
    )
    for found, held in ((good, True), (worse, False)):
        both = {"tcs-feel": found, "tcs-feel + relay": found}
        assert [verdict.held for verdict in verdicts({shards: both, mild: both})] == [held] * 6
    noisy = replace(good, gain=np.array([-0.03, 0.02, -0.01]))  # mean -0.0067, standard error 0.0145
    assert [verdict.held for verdict in verdicts({mild: {"tcs-feel": noisy}})] == [True]
    assert verdicts({replace(shards, clients=20): {"tcs-feel": worse}}) == []


def test_a_training_learns_and_is_the_same_again() -> None:
    setting = Setting("digits", "dirichlet-1.0", 12, 10, 8)
    first, again = (train(digits(), setting, RANDOM, seed=5) for _ in range(2))
    assert first.accuracy[-1] > 0.85  # a fifth of the samples, never trained on; 0.1 by guessing
    assert np.array_equal(first.accuracy, again.accuracy)
    assert first.counts.sum() == 80
    assert not np.array_equal(first.accuracy, train(digits(), setting, RANDOM, seed=6).accuracy)


def test_clients_report_their_labels_or_nothing_or_noise() -> None:
    counts, rng = [40.0, 0.0, 3.0], np.random.default_rng(1)
    assert reported(counts, "exact", rng) == counts
    assert reported(counts, "sketch", rng) is None
    noise = np.array([np.subtract(reported([100.0] * 10, "noisy", rng) or [], 100) for _ in range(200)])
    assert np.abs(noise).mean() == pytest.approx(0.95, abs=0.15)  # a Laplacian of scale 1, rounded: e^(1/2) / (e - 1)
    assert (noise == np.rint(noise)).all()


def test_sketches_are_averaged_over_the_rounds_that_a_client_came_back_in() -> None:
    rng, sketches = np.random.default_rng(1), Sketches()
    model = initial(64, rng)
    updates = [Model(*(np.stack([layer + step, layer - step]) for layer in model)) for step in (1, 2)]
    sketches.fold(model, updates[0], [3, 5])
    up = np.array(sketches.means[3])
    assert np.allclose(sketches.means[5], -up, atol=1e-6)
    sketches.fold(model, updates[1], [5, 3])  # of any length, but the other way
    assert np.allclose(sketches.means[3], 0, atol=1e-6)
    sketches.fold(model, Model(*(layer[np.newaxis] for layer in model)), [7])
    assert sketches.means.keys() == {3, 5}


def test_what_is_known_of_labels_changes_who_is_chosen() -> None:
    setting = Setting("digits", "shards-2", 20, 5, 8)
    known: tuple[LabelKnowledge, ...] = ("exact", "sketch", "noisy")
    counts = [train(digits(), setting, Contender(kind, "tcs-feel", labels=kind), seed=5).counts for kind in known]
    assert len({tuple(count.tolist()) for count in counts}) == 3


def test_mnist_is_read_from_idx_files_and_from_npz(tmp_path: Path) -> None:
    images, labels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), np.array([7, 2], np.uint8)
    for part in ("train", "t10k"):
        shape = struct.pack(">HBBIII", 0, 8, 3, 2, 28, 28)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(shape + images.tobytes())
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">HBBI", 0, 8, 1, 2) + labels.tobytes())
        )
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "mnist.npz", allow_pickle=False, **arrays)
    for source in (tmp_path, tmp_path / "mnist.npz"):
        known = mnist(source)
        assert known.train.inputs.shape == (2, 784)
        assert known.test.inputs[0, 255] == 1.0
        assert known.train.labels.tolist() == [7, 2]
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="has no file t10k-labels"):
        mnist(tmp_path)


def test_a_short_run_prints_and_writes_its_tables_and_judges_no_bar_that_it_did_not_measure(tmp_path: Path) -> None:
    options = [
        "--strategies", "tcs-feel", "--labels", "exact", "sketch", "--seeds", "1", "--rounds", "6",
        "--rules", "scaffold",
        "--partitions", "shards-2", "--clients", "20", "--jobs", "1",
        "--plots", str(tmp_path), "--markdown", str(tmp_path / "table.md"),
    ]  # fmt: skip
    command = [sys.executable, "-m", "benchmarks", "selection", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603  (our own)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "selection: 0 of 0 bars hold; missed: none"
    rows = [line.split(" | ")[0] for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| ")]
    plain = ["| random", "| tcs-feel", "| tcs-feel + sketch"]
    assert rows == ["| strategy", *plain, *(f"{name}, scaffold" for name in plain)]
    assert (tmp_path / "digits-shards-2-20.svg").read_text().count("held-out data") == 3  # panels
