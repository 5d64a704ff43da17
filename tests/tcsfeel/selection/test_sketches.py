"""What updates say of labels."""

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsfeel.selection.sketches import BLOCK, LONGEST, SIZE, averaged, last_layer, sketch, skew_of_sketches
from tests.tcsfeel.worlds import candidates, pool

Floats = npt.NDArray[np.float64]


def model(*shapes: tuple[int, ...], **named: tuple[int, ...]) -> dict[str, npt.NDArray[np.float32]]:
    numbered = {f"{number:03}": shape for number, shape in enumerate(shapes)}
    return {name: np.zeros(shape, np.float32) for name, shape in (numbered | named).items()}


def sketched(update: npt.ArrayLike) -> Floats:
    values = np.asarray(update, np.float64)
    found = sketch({"w": np.zeros_like(values)}, {"w": values})
    assert found is not None
    return np.array(found)


def unit(values: Floats) -> Floats:
    return values / np.linalg.norm(values)


def test_inner_products_are_kept_in_expectation() -> None:
    # A random pair at a known angle, 400 times; an estimate's variance is about (1 + cos²) / SIZE.
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(400):
        first = unit(rng.normal(size=300))
        second = unit(first + rng.normal(size=300) / 15)
        errors.append(sketched(first) @ sketched(second) - first @ second)
    deviation = np.sqrt(2 / SIZE)
    assert abs(np.mean(errors)) < 4 * deviation / np.sqrt(len(errors))
    assert np.std(errors) < 1.2 * deviation


def test_a_sketch_is_linear_in_the_direction_and_blind_to_the_length() -> None:
    rng = np.random.default_rng(2)
    first, second = unit(rng.normal(size=500)), unit(rng.normal(size=500))
    both = np.linalg.norm(first + second) * sketched(first + second)
    assert both == pytest.approx(sketched(first) + sketched(second))
    assert sketched(1e-30 * first) == pytest.approx(sketched(first))
    assert sketched(-1e30 * first) == pytest.approx(-sketched(first))


def test_each_element_falls_into_one_bucket_with_one_sign_and_they_spread_evenly() -> None:
    count = 200 * SIZE
    folds = np.array([sketched(np.eye(1, count, place).ravel()) for place in range(0, count, 7)])
    assert (np.abs(folds).sum(axis=1) == 1).all()
    rows, buckets = np.nonzero(folds)
    held = np.bincount(buckets, minlength=SIZE)
    even = len(rows) / SIZE
    assert (np.abs(held - even) < 5 * np.sqrt(even)).all()
    assert abs(folds.sum()) < 5 * np.sqrt(len(rows))


def test_blocks_do_not_show() -> None:
    # one element just before, on and after a block's edge, and in the second tensor behind it
    weights, bias = np.zeros((BLOCK + 2, 1)), np.zeros(1)
    places = [BLOCK - 1, BLOCK, BLOCK + 1]
    alone = []
    for place in places:
        moved = weights.copy()
        moved[place] = 1
        alone.append(sketched(moved))
        assert np.abs(alone[-1]).sum() == 1
    together = weights.copy()
    together[places] = [[2], [3], [6]]  # of length 7
    assert 7 * sketched(together) == pytest.approx(2 * alone[0] + 3 * alone[1] + 6 * alone[2])
    layer = sketch({"b": bias, "w": weights}, {"b": bias + 1, "w": weights})
    longer = np.zeros(BLOCK + 3)
    longer[-1] = 1
    assert layer == pytest.approx(tuple(sketched(longer)))


def test_an_update_that_has_not_moved_or_went_too_far_has_no_sketch() -> None:
    before = {"hidden": np.zeros((4, 3)), "out": np.zeros((3, 2)), "bias": np.zeros(2)}
    assert sketch(before, before | {"hidden": np.ones((4, 3))}) is None  # but the last layer stands still
    assert sketch(before, before | {"bias": np.array([1e300, 1e300])}) is None
    assert sketch(before, before | {"bias": np.array([1e-3, 0.0])}) is not None
    assert sketch({"w": np.zeros((0, 2))}, {"w": np.zeros((0, 2))}) is None


def test_an_update_has_no_sketch_however_its_infinities_fall_together() -> None:
    # beyond the largest number in the first block, and in the same bucket with the other sign in the second
    def at(place: int) -> npt.NDArray[np.float64]:
        values = np.zeros(2 * BLOCK)
        values[place] = 1.0
        return values

    opposite = next(place for place in range(BLOCK, 2 * BLOCK) if (sketched(at(place)) == -sketched(at(0))).all())
    largest = np.finfo(np.float64).max * (at(0) + at(opposite))

    assert sketch({"w": -largest}, {"w": largest}) is None


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.int8, np.uint64, np.bool_])
def test_any_dtype_will_do(dtype: npt.DTypeLike) -> None:
    up = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    down = np.array([[1, 0, 1], [1, 0, 0]]).astype(dtype)
    found = sketch({"w": down}, {"w": up})
    assert found == pytest.approx(tuple(sketched([[-1, 1, 0], [0, 0, 1]])))


def test_the_sketch_of_an_update_is_the_same_on_every_server() -> None:
    # replicas, and the versions that come, fold into the same mean: the numbers must stay what they are
    numbers = np.arange(1.0, 41.0)
    assert (sketched(numbers) * np.linalg.norm(numbers)).tolist() == pytest.approx([
        67, -21, 0, 0, -4, -33, 3, -4, 57, 0, -36, 9, -24, -37, 35, -63,
        -11, 24, -48, 3, -20, 0, 23, -17, -33, 0, 56, 32, 17, -27, 0, 0,
    ])  # fmt: skip


def test_it_is_also_where_positions_take_more_than_16_bits() -> None:
    numbers = np.zeros(70_020)
    numbers[70_000:] = np.arange(1.0, 21.0)
    assert (sketched(numbers) * np.linalg.norm(numbers)).tolist() == pytest.approx([
        0, 19, 20, -6, 0, 0, -18, 0, 0, -14, 0, -4, -12, 0, -16, -8,
        0, -7, 0, 0, 0, 18, 6, 13, 0, 0, -15, 0, -10, -11, 5, -2,
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("shapes", "layer"),
    [
        ({"hidden.bias": (32,), "hidden.weight": (64, 32), "out.bias": (10,), "out.weight": (32, 10)}, "out"),
        ({"head.bias": (10,), "head.weight": (10, 32), "trunk.bias": (32,), "trunk.weight": (32, 64)}, "head"),
        ({"bias": (10,), "weight": (64, 10)}, ""),
        ({"conv.weight": (8, 1, 3, 3), "conv.bias": (8,), "fc.weight": (10, 8), "fc.bias": (10,)}, "fc"),
    ],
)
def test_the_last_layer_is_the_one_whose_outputs_nobody_takes_in(
    shapes: Mapping[str, tuple[int, ...]], layer: str
) -> None:
    stem = f"{layer}." if layer else ""
    expected = [f"{stem}weight", f"{stem}bias"]
    assert last_layer(model(**shapes)) == expected
    assert last_layer(dict(reversed(model(**shapes).items()))) == expected


def test_where_shapes_do_not_tell_names_do() -> None:
    assert last_layer(model(w2=(5, 5), w10=(5, 5), b10=(5,), w9=(5, 5))) == ["w10"]
    # a flattened convolution's outputs are seen by nobody in that size, as the last layer's
    flat = {"0.weight": (4, 1, 3, 3), "0.bias": (4,), "10.weight": (3, 36), "10.bias": (3,)}
    assert last_layer(model(**flat))[0] == "10.weight"
    assert last_layer(model(w2=(4, 3), w10=(3, 2))) == ["w10"]


def test_a_model_without_matrices_is_sketched_whole() -> None:
    before = model(b=(1,), a=(3,), scale=())
    assert last_layer(before) == ["a", "b", "scale"]
    moved = sketch(before, before | {"scale": np.ones((), np.float32)})
    assert moved == tuple(sketched([0, 0, 0, 0, 1]))


def test_the_mean_over_rounds() -> None:
    mean: tuple[float, ...] = (0.0, 8.0)
    for rounds, newest in enumerate([(4.0, 4.0), (2.0, 0.0)], start=1):
        mean = averaged(mean, rounds, newest)
    assert mean == pytest.approx((2.0, 4.0))


def test_sketches_differ_from_their_mean_by_samples() -> None:
    one, other = np.eye(SIZE)[0], np.eye(SIZE)[1]
    skew = skew_of_sketches([tuple(one), None, tuple(other)], np.array([3.0, 100.0, 1.0]), None)
    # the mean is (3/4, 1/4): who has no sketch has no vote
    assert skew[:, :2].tolist() == [[0.25, -0.25], [0, 0], [-0.75, 0.75]]
    assert not skew[:, 2:].any()
    # mean square (2/16 + 18/16) / 2 = 5/8, brought to 10: times 4
    scaled = skew_of_sketches([tuple(one), None, tuple(other)], np.array([3.0, 100.0, 1.0]), 10.0)
    assert scaled == pytest.approx(4 * skew)
    assert not skew_of_sketches([None, None], np.ones(2), 1.0).any()
    assert not skew_of_sketches([tuple(one), tuple(one)], np.ones(2), 1.0).any()


def test_who_reports_is_known_by_its_labels_and_who_does_not_by_its_sketch() -> None:
    one, other = tuple(np.eye(SIZE)[0]), tuple(np.eye(SIZE)[1])
    made = pool(
        candidates(
            5,
            data_distribution=[[1, 0], [0, 1], [0, 1], None, None],
            sketch=[None, one, other, one, other],
        )
    )
    labels, sketches = made.skew[:, :2], made.skew[:, 2:]
    assert labels.tolist() == pytest.approx(np.array([[2, -2], [-1, 1], [-1, 1], [0, 0], [0, 0]]) / 3)
    assert not sketches[:3].any()
    assert sketches[3] == pytest.approx(-sketches[4])
    # as skewed on average as those that report: (8/9 + 2/9 + 2/9) / 3 = 4/9
    assert (sketches[3] ** 2).sum() == pytest.approx(4 / 9)


@pytest.mark.parametrize("distribution", [None, [1, 1]])
def test_sketches_count_also_where_nobody_reports_any_skew(distribution: Sequence[float] | None) -> None:
    one, other = tuple(np.eye(SIZE)[0]), tuple(np.eye(SIZE)[1])
    made = pool(candidates(3, data_distribution=[distribution, None, None], sketch=[None, one, other]))
    assert (made.skew[1] ** 2).sum() == pytest.approx(0.5)


def test_names_in_the_digits_of_any_writing_have_an_order() -> None:
    names = {"٣": (1,), "w": (1,), "1": (1,), "²": (1,), "": (1,)}
    assert sorted(last_layer(model(**names))) == ["", "1", "w", "²", "٣"]


def test_an_update_that_fits_the_hashes_has_no_longer_a_sketch_than_others() -> None:
    # of 1024 values about 32 come to each bucket: with the signs of the hashes they add up, to about 5.7 of length 1
    before = np.zeros((32, 32))
    signs = np.zeros(1024)
    for place in range(1024):
        after = before.copy()
        after.reshape(-1)[place] = 1.0
        found = sketch({"w": before}, {"w": after})
        assert found is not None
        signs[place] = sum(found)
    fitting = sketch({"w": before}, {"w": signs.reshape(32, 32)})
    assert fitting is not None
    assert np.linalg.norm(fitting) == pytest.approx(LONGEST)
    for seed in range(20):
        drawn = sketch({"w": before}, {"w": np.random.default_rng(seed).standard_normal((32, 32))})
        assert drawn is not None
        assert np.linalg.norm(drawn) < LONGEST


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=40))
def test_a_sketch_is_finite_and_short_whatever_the_numbers(moved: list[float]) -> None:
    after = np.array(moved).reshape(1, -1)
    found = sketch({"w": np.zeros_like(after)}, {"w": after})
    if found is not None:
        assert np.linalg.norm(found) <= LONGEST * (1 + 1e-9)
        mean = averaged(averaged(found, 1, found), 10**9, [-value for value in found])
        assert np.isfinite(mean).all()
