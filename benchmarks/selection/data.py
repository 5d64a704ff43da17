"""Load real images, and split them over clients.

`digits` are the 1 797 digits of 8 by 8 pixels in scikit-learn's wheel (UCI). MNIST is read from a file or a directory
of the user. Nothing is downloaded.
"""

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from app.demo.digits import partition as dirichlet
from benchmarks.selection.learning import CLASSES, Recipe, Rows, Samples

PARTITIONS = ("shards-2", "dirichlet-0.1", "dirichlet-0.3", "dirichlet-1.0")
HELD_OUT = 0.2  # share of the digits that is only used to measure
SPLIT = 20  # the seed of the held-out digits, which are the same for every seed of the benchmark
DARKEST = {"digits": 16.0, "mnist": 255.0}
IDX_OF_BYTES = 0x08
NPZ_NAMES = (("x_train", "y_train", "x_test", "y_test"), ("xtr", "ytr", "xte", "yte"))
IDX_FILES = ("train-images", "train-labels", "t10k-images", "t10k-labels")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples to train on, others to measure with, and how a client trains."""

    name: str
    train: Samples
    test: Samples
    recipe: Recipe


def digits() -> Dataset:
    """Load scikit-learn's digits, and hold out a fifth of them."""
    found = load_digits()
    order = np.random.default_rng(SPLIT).permutation(len(found.target))
    inputs, labels = (found.data[order] / DARKEST["digits"]).astype(np.float32), found.target[order].astype(np.intp)
    cut = round(HELD_OUT * len(labels))
    return Dataset(
        "digits",
        Samples(inputs[cut:], labels[cut:]),
        Samples(inputs[:cut], labels[:cut]),
        Recipe(epochs=5, batch=10, rate=0.1),
    )


def mnist(source: Path) -> Dataset:
    """Load MNIST from an .npz file, or from a directory with the four idx files, gzipped or not.

    Raises:
        ValueError: the file or the directory has another content.
    """
    train_inputs, train_labels, test_inputs, test_labels = _idx(source) if source.is_dir() else _npz(source)
    return Dataset(
        "mnist",
        Samples(_flat(train_inputs), train_labels.astype(np.intp)),
        Samples(_flat(test_inputs), test_labels.astype(np.intp)),
        Recipe(epochs=1, batch=20, rate=0.1),
    )


def partition(labels: Rows, clients: int, kind: str, rng: np.random.Generator) -> list[Rows]:
    """Return the numbers of the rows that each client gets. Every row goes to exactly one client.

    `shards-S` sorts the rows by label, cuts them into N·S equal shards, and gives S shards to each client (McMahan et
    al., 2017). `dirichlet-A` splits each class by a Dirichlet distribution with the concentration A (Hsu, Qi, Brown,
    2019). `iid` gives each client an equal part of all rows in random order.

    Raises:
        ValueError: the kind is unknown.
    """
    name, _, value = kind.partition("-")
    match name:
        case "shards":
            shards = np.array_split(np.argsort(labels, kind="stable"), clients * int(value))
            hands = rng.permutation(len(shards)).reshape(clients, int(value))
            return [np.concatenate([shards[shard] for shard in hand]) for hand in hands]
        case "dirichlet":
            return dirichlet(labels, clients, float(value), rng)
        case "iid":
            return np.array_split(rng.permutation(len(labels)), clients)
    raise ValueError(f"a partition is shards-S, dirichlet-A or iid, such as {', '.join(PARTITIONS)}; not {kind!r}")


def label_counts(labels: Rows, part: Rows) -> list[float]:
    """Return how many rows there are of each class (C,)."""
    return [float(count) for count in np.bincount(labels[part], minlength=CLASSES)]


def _flat(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return (images.reshape(len(images), -1) / DARKEST["mnist"]).astype(np.float32)


def _npz(file: Path) -> list[npt.NDArray[np.uint8]]:
    with np.load(file) as arrays:
        for names in NPZ_NAMES:
            if all(name in arrays for name in names):
                return [arrays[name] for name in names]
        raise ValueError(f"{file} should hold {' or '.join(', '.join(names) for names in NPZ_NAMES)}")


def _idx(directory: Path) -> list[npt.NDArray[np.uint8]]:
    return [_read_idx(_find(directory, stem)) for stem in IDX_FILES]


def _find(directory: Path, stem: str) -> Path:
    for file in sorted(directory.iterdir()):
        if file.name.startswith(stem):
            return file
    raise ValueError(f"{directory} has no file {stem}-…")


def _read_idx(file: Path) -> npt.NDArray[np.uint8]:
    """Read an array of bytes in LeCun's idx format: zero, zero, type, dimensions, big-endian sizes, the bytes."""
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    zeros, kind, dimensions = struct.unpack_from(">HBB", content)
    if zeros or kind != IDX_OF_BYTES:
        raise ValueError(f"{file} is not an idx file of bytes")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
