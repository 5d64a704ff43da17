"""Updates are read block by block."""

import numpy as np
import pytest

from tcsfeel.aggregation import Updates
from tcsfeel.aggregation.blocks import ALL_BLOCKS, LARGEST_BLOCK, RESIDENT_BYTES, SMALLEST_BLOCK
from tests.tcsfeel.aggregation.test_aggregation import aggregated, f32, only


def test_a_mean_is_held_in_no_more_than_the_models_precision() -> None:
    model = {"w": f32(1, 2)}
    assert Updates(model, [model]).mean([1.0], "w", slice(0, 2)).dtype == np.float32


@pytest.mark.parametrize(
    ("clients", "block"),
    [(1, LARGEST_BLOCK), (200, ALL_BLOCKS // 200), (10 * ALL_BLOCKS // SMALLEST_BLOCK, SMALLEST_BLOCK)],
)
def test_blocks_cover_every_tensor_and_stay_small_together(clients: int, block: int) -> None:
    model = {"w": np.zeros(2 * block + 1, np.float32).reshape(1, -1), "e": f32(), "b": np.zeros((), np.float32)}
    found = [(name, rows.start, rows.stop) for name, rows in Updates(model, [model] * clients).blocks()]
    assert found == [("w", 0, block), ("w", block, 2 * block), ("w", 2 * block, 2 * block + 1), ("b", 0, 1)]


@pytest.mark.parametrize(("clients", "size"), [(31, 1 << 20), (1, 1 << 24)])
def test_memory_is_given_back_before_much_was_read_and_at_the_end(clients: int, size: int) -> None:
    seen: list[int] = []
    model = {"w": np.zeros(size, np.float32)}
    updates = Updates(model, [model] * clients, release=lambda: seen.append(-1))
    for _, rows in updates.blocks():
        seen.append((clients + 1) * 4 * (rows.stop - rows.start))  # the model is read too
    pieces = "".join("|" if one < 0 else "." for one in seen).rstrip("|").split("|")
    assert seen[-1] == -1
    assert max(map(len, pieces)) * seen[0] == RESIDENT_BYTES
    assert len(pieces) == (128 << 20) / RESIDENT_BYTES


@pytest.mark.parametrize(("sizes", "releases"), [([5_592_405], 1), ([5_592_406], 2), ([5_592_406, 5_592_405], 2)])
def test_memory_is_given_back_as_soon_as_so_many_bytes_were_read(sizes: list[int], releases: int) -> None:
    # a value of the model and those of two updates are 3 bytes: 5 592 405 values are one byte short of the limit
    assert RESIDENT_BYTES - 1 == 3 * 5_592_405
    seen: list[int] = []
    model = {str(size): np.zeros(size, np.uint8) for size in sizes}
    list(Updates(model, [model] * 2, release=lambda: seen.append(1)).blocks())
    assert len(seen) == releases


@pytest.mark.parametrize("clients", [1, 3, 200])
def test_blocks_do_not_show_in_the_result(clients: int) -> None:
    drawn = np.random.default_rng(2).standard_normal((clients, 70_000))
    result = only(aggregated({"w": np.zeros(70_000)}, *(({"w": row}, 1) for row in drawn)))
    np.testing.assert_allclose(result, drawn.mean(axis=0), rtol=0, atol=1e-12)


def test_one_update_is_read_in_64_bits() -> None:
    model = {"w": f32(1)}
    assert Updates(model, [model]).one(0, "w", slice(0, 1)).dtype == np.float64
