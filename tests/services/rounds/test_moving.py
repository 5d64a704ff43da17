"""Updates of carried tasks, moved from the model that they began with to the model of the round."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.services.rounds.moving import moved
from app.services.rounds.uploads import FullUpdate
from app.store.model_store import ModelStore
from tcsfeel.wire.codec import pack, unpack
from tcsfeel.wire.tasks import TaskResult, read_result, result_metadata

RESULT = TaskResult(num_examples=10, loss=0.5, accuracy=0.25)
Tensors = Mapping[str, npt.NDArray[Any]]


def full(store: ModelStore, tensors: Tensors) -> FullUpdate:
    head, block = pack(tensors).payload(result_metadata(RESULT))
    file = store.write([head, block])
    return FullUpdate(file, "full", unpack(store.map(file.sha256))[0], RESULT)


def test_the_difference_is_made_to_the_present_model(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    base: Tensors = {"w": np.array([1.0, 2.0], np.float32), "v": np.array([[0.5]], np.float64)}
    present: Tensors = {"w": np.array([10.0, 20.0], np.float32), "v": np.array([[3.0]], np.float64)}
    update = full(store, {"w": np.array([1.5, 1.0], np.float32), "v": np.array([[0.25]], np.float64)})

    found = moved(store, update, pack(base), pack(present), ())
    assert {name: tensor.tolist() for name, tensor in found.packed.parameters().items()} == {
        "w": [10.5, 19.0], "v": [[2.75]],
    }  # fmt: skip
    packed, metadata = unpack(store.map(found.file.sha256))
    assert packed.parameters()["w"].tolist() == [10.5, 19.0]
    assert read_result(metadata) == RESULT
    assert store.names() == [found.file.sha256], "the file that came is gone"
    again = moved(store, full(store, {"w": np.array([1.5, 1.0], np.float32), "v": np.array([[0.25]])}), pack(base),
                  pack(present), ())  # fmt: skip
    assert again.file == found.file


def test_what_measures_or_counts_stays_as_it_was_sent(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    base: Tensors = {"n.running_var": np.array([9.0], np.float32), "ema": np.array([9.0], np.float32),
            "steps": np.array([9]), "on": np.array([True])}  # fmt: skip
    present: Tensors = {name: np.zeros_like(tensor) for name, tensor in base.items()}
    sent: Tensors = {"n.running_var": np.array([1.0], np.float32), "ema": np.array([2.0], np.float32),
            "steps": np.array([3]), "on": np.array([True])}  # fmt: skip
    found = moved(store, full(store, sent), pack(base), pack(present), ("ema",)).packed.parameters()
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in sent.items()
    }


@pytest.mark.parametrize(
    "tensors",
    [{"w": np.zeros(3, np.float32)}, {"w": np.zeros(2)}, {"v": np.zeros(2, np.float32)}, {}],
    ids=["shape", "dtype", "name", "none"],
)
def test_an_update_of_another_form_is_left_to_the_checks(tmp_path: Path, tensors: Tensors) -> None:
    store, model = ModelStore(tmp_path), pack({"w": np.zeros(2, np.float32)})
    update = full(store, tensors)
    assert moved(store, update, model, model, ()) is update


def test_what_overflows_is_not_finite_and_so_is_left_to_the_checks(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    base, present = ({"w": np.array([value], np.float16)} for value in (0.0, 60000.0))
    found = moved(store, full(store, {"w": np.array([60000.0], np.float16)}), pack(base), pack(present), ())
    assert np.isinf(found.packed.parameters()["w"]).all()
