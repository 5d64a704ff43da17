"""How models are laid out is remembered.

Covers: app.services.rounds.layouts
"""

import numpy as np
import pytest

from app.services.rounds.layouts import Layouts
from tcsfeel.wire.codec import encode
from tcsfeel.wire.errors import MalformedParameters


def file_of(value: float, size: int = 3) -> memoryview:
    return memoryview(encode({"w": np.full(size, value, np.float32), "n": np.arange(2)}))


def test_a_model_with_the_same_header_gets_the_same_layout_and_its_own_values() -> None:
    layouts = Layouts()
    first, second = layouts.read(file_of(1.0)), layouts.read(file_of(2.0))
    assert second.layout is first.layout
    assert list(second.parameters()["w"]) == [2.0, 2.0, 2.0]
    assert list(second.parameters()["n"]) == [0, 1]
    assert list(first.parameters()["w"]) == [1.0, 1.0, 1.0]


def test_another_header_is_read_anew() -> None:
    layouts = Layouts()
    first, second = layouts.read(file_of(1.0)), layouts.read(file_of(1.0, size=4))
    assert first.parameters()["w"].shape == (3,)
    assert second.parameters()["w"].shape == (4,)


@pytest.mark.parametrize("length", [0, 4, 8, 60, -8, -1])
def test_a_file_that_is_cut_short_is_refused_however_well_its_header_is_known(length: int) -> None:
    layouts, whole = Layouts(), file_of(1.0)
    layouts.read(whole)
    with pytest.raises(MalformedParameters):
        layouts.read(whole[:length])


def test_a_file_that_is_refused_is_refused_again() -> None:
    layouts, wrong = Layouts(), memoryview(bytes(file_of(1.0)) + b"more")
    for _ in range(2):
        with pytest.raises(MalformedParameters, match="the tensors end at"):
            layouts.read(wrong)


def test_the_layouts_that_were_not_used_for_the_longest_time_are_forgotten() -> None:
    layouts = Layouts()
    first, other = layouts.read(file_of(1.0, size=1)), layouts.read(file_of(1.0, size=2))
    for size in range(3, 33):
        layouts.read(file_of(1.0, size=size))
    assert layouts.read(file_of(1.0, size=1)).layout is first.layout  # is now the one that was used last
    layouts.read(file_of(1.0, size=33))
    assert layouts.read(file_of(1.0, size=1)).layout is first.layout
    assert layouts.read(file_of(1.0, size=2)).layout is not other.layout
