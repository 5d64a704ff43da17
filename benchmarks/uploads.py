"""Measure what smaller uploads save and cost: bytes, accuracy after real training, and time.

A perceptron learns the real digits by federated averaging. In each round, random clients train from the global model.
Their updates go through the code of the product: they are encoded and packed as by an agent, compressed, and expanded
as by the control plane. zstd loses nothing, so it changes only the number of bytes. All encodings have the same
clients, the same rounds and the same random numbers.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from app.services.rounds.uploads import full_update
from app.store.model_store import ModelStore
from benchmarks.machine import Times
from benchmarks.selection import learning
from benchmarks.selection.data import Dataset, digits, partition
from benchmarks.selection.learning import federated_average, local_training
from tcsfeel.wire.codec import Packed, Parameters, pack
from tcsfeel.wire.compression import IDENTITY, ZSTD, compressed
from tcsfeel.wire.differences import encode_update
from tcsfeel.wire.sizes import fit_size
from tcsfeel.wire.tasks import EncodingName, TaskResult, result_metadata

CLIENTS, PER_ROUND = 50, 10
PARTITION = "dirichlet-0.3"
RESULT = TaskResult(num_examples=100, loss=0.5, accuracy=0.9, train_seconds=1.0)
LAST = 5  # rounds, whose mean is the final accuracy of a training
LARGEST_LOSS = 0.005  # of the mean accuracy over the seeds that an encoding with feedback may cost
TIMED_VALUES = 2_500_000  # 10 MB in float32
REPEATS = 7


class Variant(NamedTuple):
    """An encoding, and whether its rounding errors are fed back."""

    encoding: EncodingName
    feedback: bool = True

    @property
    def title(self) -> str:
        return self.encoding if self.feedback else f"{self.encoding}, no feedback"


VARIANTS = (Variant("full"), Variant("float16"), Variant("int8"), Variant("int8", feedback=False))


@dataclass(slots=True)
class Outcome:
    """The results of a variant: final accuracies by seed, and the bytes of uploads without compression and in zstd."""

    accuracies: list[float] = field(default_factory=list)
    plain: list[int] = field(default_factory=list)
    small: list[int] = field(default_factory=list)


class Agents:
    """All agents of a training. They encode updates and keep the rounding errors."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._lost: dict[int, Parameters] = {}

    def upload(self, client: int, update: Parameters, base: Parameters) -> bytes:
        """Return the body that a client sends."""
        encoding = self._variant.encoding
        encoded = None if encoding == "full" else encode_update(update, base, encoding, self._lost.get(client, {}))
        if encoded is None:
            return b"".join(pack(update).payload(result_metadata(RESULT)))
        if self._variant.feedback:
            self._lost[client] = encoded.lost
        return b"".join(pack(encoded.parameters).payload(result_metadata(RESULT, encoded.encoding)))


def train(variant: Variant, dataset: Dataset, seed: int, rounds: int, outcome: Outcome) -> None:
    """Run a training, and add its results to `outcome`."""
    parts = partition(dataset.train.labels, CLIENTS, PARTITION, np.random.default_rng([seed, 0]))
    rng = np.random.default_rng([seed, 1])
    model = learning.initial(dataset.train.inputs.shape[1], np.random.default_rng([seed, 2]))
    agents, accuracies = Agents(variant), []
    for _ in range(rounds):
        chosen = rng.choice(CLIENTS, PER_ROUND, replace=False)
        mine = [parts[client] for client in chosen]
        updates, _ = local_training(model, dataset.train, mine, dataset.recipe, rng)
        base = pack(model._asdict())
        with spooling() as spool:
            for position, client in enumerate(chosen):
                update = {name: layer[position] for name, layer in updates._asdict().items()}
                body = agents.upload(int(client), update, base.parameters())
                outcome.plain.append(len(body))
                outcome.small.append(len(in_zstd(body)))
                for name, tensor in received(spool, body, base, variant.encoding, IDENTITY).items():
                    getattr(updates, name)[position] = tensor
        model = federated_average(updates, np.array([len(part) for part in mine]))
        accuracies.append(learning.accuracy(model, dataset.test))
    outcome.accuracies.append(statistics.mean(accuracies[-LAST:]))


@contextmanager
def spooling() -> Iterator[ModelStore]:
    """Make a spool for the block."""
    with TemporaryDirectory() as directory:
        yield ModelStore(Path(directory), durable=False)


def received(spool: ModelStore, body: bytes, base: Packed, encoding: EncodingName, coding: str) -> Parameters:
    """Return the update that the control plane uses after it has received this body."""
    full = full_update(spool, spool.write([body]), base, fit_size(base), encoding=encoding, coding=coding)
    return full.packed.parameters()


def show(outcomes: Mapping[Variant, Outcome]) -> None:
    """Print a line for each variant and coding, with the difference to full updates of the same seed."""
    print(f"{'encoding':20}{'coding':>8}{'bytes':>9}{'of full':>9}   final accuracy, mean (range)   difference ± SE")
    whole = outcomes[VARIANTS[0]]
    for variant, outcome in outcomes.items():
        found, apart = np.array(outcome.accuracies), np.array(outcome.accuracies) - whole.accuracies
        error = float(apart.std(ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else 0.0
        told = f"{found.mean():.4f} ({found.min():.4f} to {found.max():.4f})       {apart.mean():+.4f} ± {error:.4f}"
        for coding, sizes in ((IDENTITY, outcome.plain), (ZSTD, outcome.small)):
            size = statistics.mean(sizes)
            share = size / statistics.mean(whole.plain)
            print(f"{variant.title:20}{coding:>8}{size:9,.0f}{share:9.1%}   {told}", flush=True)


def show_times(values: int) -> None:
    """Print the milliseconds for a model of `values` float32: at the agent, and at the server until it has the file."""
    rng = np.random.default_rng(1)
    base = pack({"w": rng.normal(0, 0.1, values).astype(np.float32)})
    update = {"w": base.parameters()["w"] + rng.normal(0, 0.01, values).astype(np.float32)}
    copy = timed(lambda: bytes(base.block))
    print(f"\n{4 * values / 1e6:g} MB, a copy in memory {copy:.1f} ms")
    print(f"{'encoding':10}{'coding':>10}{'bytes':>14}{'agent':>11}{'control plane':>16}")
    for encoding in (variant.encoding for variant in VARIANTS if variant.feedback):
        encode = partial(Agents(Variant(encoding, feedback=False)).upload, 0, update, base.parameters())
        body, encoding_time = encode(), timed(encode)
        small, compressing = in_zstd(body), timed(partial(in_zstd, body))
        for coding, sent, took in ((IDENTITY, body, 0.0), (ZSTD, small, compressing)):
            with spooling() as spool:
                stored = spool.write([sent])
                expand = partial(full_update, spool, stored, base, fit_size(base), encoding=encoding, coding=coding)
                expanding = timed(expand, first=partial(spool.write, [sent]))  # each replaces the upload
            agent = encoding_time + took
            print(f"{encoding:10}{coding:>10}{len(sent):14,}{agent:8.1f} ms{expanding:13.1f} ms", flush=True)


def in_zstd(body: bytes) -> bytes:
    """Compress a body as an agent does."""
    return b"".join(compressed(iter([body])))


def timed(work: Callable[[], object], *, first: Callable[[], object] = lambda: None) -> float:
    """Measure the milliseconds that `work` takes, the median of some. `first` is called before each, untimed."""
    took = []
    for _ in range(REPEATS):
        first()
        began = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def main(arguments: Sequence[str]) -> int:
    """Measure bytes, accuracy and time of encoded and compressed uploads, by real training on the digits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks uploads", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--values", type=int, default=TIMED_VALUES, help="of the model whose updates are timed")
    options = parser.parse_args(arguments)
    times, cpu, dataset = Times.now(), time.process_time(), digits()
    outcomes = {variant: Outcome() for variant in VARIANTS}
    for seed in range(options.seeds):
        for variant, outcome in outcomes.items():
            train(variant, dataset, seed, options.rounds, outcome)
    print(f"{options.seeds} seeds, {options.rounds} rounds of {PER_ROUND} of {CLIENTS} clients, digits, {PARTITION}")
    show(outcomes)
    show_times(options.values)
    print(times.report(time.process_time() - cpu))
    mean = {variant: statistics.mean(outcome.accuracies) for variant, outcome in outcomes.items()}
    worst = max(mean[VARIANTS[0]] - mean[variant] for variant in VARIANTS if variant.feedback)
    share = statistics.mean(outcomes[Variant("int8")].small) / statistics.mean(outcomes[VARIANTS[0]].plain)
    print(
        f"uploads: int8 in zstd takes {share:.0%} of the bytes, and an encoding costs at most {worst:.4f} of accuracy"
    )
    return 0 if worst <= LARGEST_LOSS else 1
