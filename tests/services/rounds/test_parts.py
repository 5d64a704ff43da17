"""The parts of a model by groups, and a new model that is put together from them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.domain.parameter_groups import ParameterGroups
from app.services.rounds.parts import frozen_id, global_part, read_unmatched, trained_part, whole_block
from tcsfeel.wire.codec import arrange, decode
from tcsfeel.wire.headers import header

GROUPS = ParameterGroups(local=("head",), frozen=("emb*",))
MODEL: dict[str, npt.NDArray[Any]] = {
    "a": np.arange(5, dtype=np.float32),
    "embedding": np.array(7, np.int8),  # a scalar
    "embeddings": np.arange(6, dtype=np.float64).reshape(2, 3),
    "empty": np.zeros((0, 3), np.float32),
    "head": np.ones(2, np.float16),
    "z": np.arange(3, dtype=np.float16),
}


def test_a_new_model_has_new_values_where_updates_have_them_and_old_ones_elsewhere() -> None:
    whole = global_part(GROUPS, MODEL)
    trained = trained_part(GROUPS, whole)
    assert (set(whole), set(trained)) == (MODEL.keys() - {"head"}, {"a", "empty", "z"})
    layout, released = arrange(whole), []

    def blocks() -> Iterator[npt.NDArray[Any]]:
        for name in [name for name in layout if name in trained]:
            new = trained[name].reshape(-1) + 1
            for start in range(0, new.size, 2):
                yield new[start : start + 2]
        released.append("the last")

    block = whole_block(layout, whole, trained, blocks(), release=lambda: released.append("frozen"))
    made = decode(b"".join([header(layout), *block]))[0]
    assert {name: value.tolist() for name, value in made.items()} == {
        "a": [1, 2, 3, 4, 5],
        "embedding": 7,
        "embeddings": [[0, 1, 2], [3, 4, 5]],
        "empty": [],
        "z": [1, 2, 3],
    }
    assert released == ["frozen", "frozen", "the last"]


def test_frozen_tensors_have_another_name_in_another_model_or_under_other_patterns() -> None:
    others = [ParameterGroups(frozen=("emb*",)), ParameterGroups(local=("head",), frozen=("embedding",))]
    names = {frozen_id(GROUPS, "a" * 64), frozen_id(GROUPS, "b" * 64), *(frozen_id(one, "a" * 64) for one in others)}
    assert len(names) == 4
    assert frozen_id(GROUPS, "a" * 64) == frozen_id(GROUPS, "a" * 64)
    assert {len(name) for name in names} == {64}


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ('["bn*", 7, "x"]', ["bn*", "x"]),
        ("[]", []),
        ('{"a": 1}', None),
        ("broken", None),
        ("[" * 100_000, None),
    ],
)
def test_what_an_agent_says_of_its_patterns_is_checked(said: str, read: list[str] | None) -> None:
    assert read_unmatched({"unmatched_local": said}) == read
    assert read_unmatched({}) is None
