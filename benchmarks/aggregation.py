"""Compare aggregation and the codec of parameters with memcpy, on this machine in the same minutes.

There are two bars. The weighted mean of updates of 10 MB or more reads at least 0.85 times as many bytes a second as
memcpy copies. And encoding and decoding 10 MB takes at most as long as four copies.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from app.domain.rounds import Participation, Round
from app.domain.trainings import TrainingConfig
from app.services.rounds.files import RoundFiles
from app.store.model_store import ModelStore, give_back
from app.store.models import ModelVersion
from benchmarks.machine import Times, cpu_seconds
from benchmarks.peers import HOME, MISSING, PYTHON, environment
from tcsfeel.aggregation import UpdateFacts, Updates, next_model
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.wire.codec import decode, encode, pack, unpack
from tcsfeel.wire.tasks import TaskResult, result_metadata

OF_MEMCPY = 0.85
LARGE = 10.0  # MB, the size of the smallest updates for which the bar holds
COPIES = 4.0
CODEC_MEGABYTES = 10.0
MEGABYTE = 1_000_000
FACTS = UpdateFacts(num_examples=100, loss=1.0, metrics={"accuracy": 0.5})
RESULT = result_metadata(TaskResult(num_examples=100, loss=1.0, accuracy=0.5))

Timed = Mapping[str, Callable[[], object]]


def main(arguments: Sequence[str]) -> int:
    """Aggregation rules and the codec against memcpy; status 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks aggregation", description=__doc__)
    parser.add_argument("--updates", type=int, default=50, help="of one round")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1.0, 10.0, 40.0], help="of one update")
    parser.add_argument("--rules-megabytes", type=float, default=10.0, help="of one update, for each of the rules")
    parser.add_argument("--rules-updates", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="the medians are over these")
    options = parser.parse_args(arguments)
    times, cpu = Times.now(), cpu_seconds("self")
    print(f"{'updates':>7}{'each':>10}{'memcpy':>10}{'mean':>10}{'of memcpy':>11}{'with the file':>15}")
    ratios = [_mean(options.updates, megabytes, options.repeats) for megabytes in options.megabytes]
    large = [ratio for ratio, megabytes in zip(ratios, options.megabytes, strict=True) if megabytes >= LARGE]
    _flower(options.updates, CODEC_MEGABYTES, options.repeats)
    print(f"\n{'rule':20}{'seconds':>10}{'of memcpy':>11}")
    _rules(options.rules_updates, options.rules_megabytes, options.repeats)
    copies = _codec(options.repeats)
    share = min(large or ratios)
    met = share >= OF_MEMCPY and copies <= COPIES
    print(
        f"aggregation: {share:.2f} of memcpy's speed at {LARGE:.0f} MB and more (bar {OF_MEMCPY}), "
        f"encoding and decoding {CODEC_MEGABYTES:.0f} MB as long as {copies:.1f} copies (bar {COPIES:.0f}): "
        f"{'all met' if met else 'not all met'}   {times.report(cpu_seconds('self') - cpu)}"
    )
    return 0 if met else 1


class Spooled:
    """A round whose updates are files in a spool."""

    def __init__(self, directory: Path, updates: int, megabytes: float) -> None:
        self.files = RoundFiles(ModelStore(directory / "models"), directory / "spool")
        self.tensors = [_tensors(number, megabytes) for number in range(updates)]
        model = self.files.models.write([encode(_tensors(updates, megabytes))])
        self.base = ModelVersion(
            training_id="t", round=0, sha256=model.sha256, parent=None, size=model.size, created_at=0.0
        )
        empty = Round(
            training_id="t", number=1, status="aggregating", seed=0, started_at=0.0, deadline_at=1.0, base_model="0"
        )
        self.spool = self.files.spool(empty)
        self.places = [self.spool.within(f"{number:04}") for number in range(updates)]
        self.stored = [
            place.write([encode(tensors, RESULT)]).sha256
            for place, tensors in zip(self.places, self.tensors, strict=True)
        ]
        parts = tuple(
            Participation(client_id=f"{number:04}", status="received", num_examples=100, update=sha256)
            for number, sha256 in enumerate(self.stored)
        )
        self.round = replace(empty, base_model=model.sha256, participations=parts)

    def copy(self) -> None:
        """Copy all updates by memcpy, one after the other, to the same place."""
        place = {name: np.empty_like(tensor) for name, tensor in self.tensors[0].items()}
        for tensors in self.tensors:
            for name, tensor in tensors.items():
                np.copyto(place[name], tensor)

    def combine(self, rule: Aggregation) -> None:
        """Compute the values of the next model from the files, which are in the page cache."""
        maps = [place.map(sha256) for place, sha256 in zip(self.places, self.stored, strict=True)]
        updates = Updates(
            self.files.load(self.base.sha256).parameters(),
            [unpack(mapped)[0].parameters() for mapped in maps],
            release=lambda: give_back(*maps),
        )
        config = TrainingConfig(name="t", aggregation=rule)
        deque(next_model(config, updates, [FACTS] * len(maps)).blocks, maxlen=0)

    def whole(self) -> None:
        """Do what a round does: compute the next model, hash it, write it, and sync it."""
        self.files.aggregate(TrainingConfig(name="t"), self.round, self.base, self.spool)


def _mean(updates: int, megabytes: float, repeats: int) -> float:
    """Return the speed of the mean divided by that of memcpy."""
    with tempfile.TemporaryDirectory(prefix="tcsfeel-bench-") as directory:
        spooled = Spooled(Path(directory), updates, megabytes)
        took = _medians(
            {"memcpy": spooled.copy, "mean": lambda: spooled.combine("fedavg"), "whole": spooled.whole}, repeats
        )
    ratio = took["memcpy"] / took["mean"]
    print(
        f"{updates:7}{megabytes:7.0f} MB{took['memcpy']:8.3f} s{took['mean']:8.3f} s{ratio:11.2f}"
        f"{took['whole']:13.3f} s",
        flush=True,
    )
    return ratio


def _flower(updates: int, megabytes: float, repeats: int) -> None:
    """Measure Flower's own functions, in a process of their own."""
    if not PYTHON.exists():
        print(f"\n{MISSING}")
        return
    script = str(HOME / "aggregation.py")
    command = [str(PYTHON), script, str(updates), str(int(megabytes * MEGABYTE / 4)), str(repeats)]
    done = subprocess.run(command, env=environment({}), check=True, capture_output=True, text=True)  # noqa: S603  (ours)
    took: dict[str, float] = json.loads(done.stdout)
    print(f"\nFlower's functions on {updates} updates of {megabytes:.0f} MB")
    for name, seconds in took.items():
        print(f"{name:20}{seconds:8.3f} s{took['memcpy'] / seconds:11.2f}", flush=True)


def _rules(updates: int, megabytes: float, repeats: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tcsfeel-bench-") as directory:
        spooled = Spooled(Path(directory), updates, megabytes)

        def combining(rule: Aggregation) -> Callable[[], object]:
            return lambda: spooled.combine(rule)

        took = _medians({"memcpy": spooled.copy} | {rule: combining(rule) for rule in get_args(Aggregation)}, repeats)
    for name, seconds in took.items():
        print(f"{name:20}{seconds:8.3f} s{took['memcpy'] / seconds:11.2f}", flush=True)


def _codec(repeats: int) -> float:
    """Return how long encoding and decoding take, in copies of the same bytes."""
    tensors = _tensors(0, CODEC_MEGABYTES)
    place = {name: np.empty_like(tensor) for name, tensor in tensors.items()}

    def copy() -> None:
        for name, tensor in tensors.items():
            np.copyto(place[name], tensor)

    file = encode(tensors, {"task": "{}"})
    took = _medians(
        {
            "memcpy": copy,
            "encode": lambda: pack(tensors).payload({"task": "{}"}),
            "decode": lambda: decode(file),
            "safetensors": lambda: safetensors.numpy.load(safetensors.numpy.save(tensors)),
        },
        10 * repeats,
    )
    copies = (took["encode"] + took["decode"]) / took["memcpy"]
    milliseconds = ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in took.items())
    print(f"\ncodec, {CODEC_MEGABYTES:.0f} MB: {milliseconds} (the library, both ways)")
    return copies


def _tensors(number: int, megabytes: float) -> dict[str, npt.NDArray[np.float32]]:
    """Make two matrices and a bias of float32, with `megabytes` together."""
    rng = np.random.default_rng(number)
    floats = int(megabytes * MEGABYTE / 4)
    sizes = {"layer.weight": floats // 2, "layer.bias": 100, "head.weight": floats - floats // 2 - 100}
    return {name: rng.standard_normal(size, np.float32) for name, size in sizes.items()}


def _medians(timed: Timed, repeats: int) -> dict[str, float]:
    """Return the median seconds of each function. They take turns, and the first turn does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats + 1):
        for name, run in timed.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(took[1:]) for name, took in seconds.items()}
