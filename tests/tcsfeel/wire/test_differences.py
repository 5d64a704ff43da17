"""Rounded differences: what they become again, what rounding loses, and what no honest agent sends."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsfeel.wire import differences
from tcsfeel.wire.codec import Packed, Parameters, pack, unpack
from tcsfeel.wire.differences import EncodedUpdate, check_encoded, encode_update, expand, known, wire_dtype
from tcsfeel.wire.errors import MalformedParameters
from tcsfeel.wire.tasks import EncodingName, UpdateEncoding

BASE: Parameters = {
    "w": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
    "steps": np.array([5, 6], np.int64),
    "frozen": np.array([True, False]),
}
# The largest difference is 127/128, so that a step is 1/128; 0.01 is 1.28 of them, -0.25 is 32.
UPDATE: Parameters = {
    "w": np.array([[1.0 + 127 / 128, 1.75], [3.0, 4.0]], np.float32) + np.array([[0, 0], [0, 0.01]], np.float32),
    "steps": np.array([7, 2**53 + 1], np.int64),
    "frozen": np.array([False, True]),
}


def encoded(
    update: Parameters, base: Parameters, encoding: EncodingName, lost: Parameters | None = None
) -> EncodedUpdate:
    made = encode_update(update, base, encoding, lost or {})
    assert made is not None
    return made


def restored(sent: EncodedUpdate, base: Parameters) -> Mapping[str, Any]:
    """What the control plane makes of it, with the layout of a model that was packed."""
    packed, origin = pack(sent.parameters), pack(base)
    check_encoded(packed, sent.encoding, origin)
    return Packed(origin.layout, memoryview(b"".join(expand(packed, sent.encoding, origin)))).parameters()


def test_int8_is_the_nearest_multiple_of_a_127th_of_the_largest_difference() -> None:
    sent = encoded(UPDATE, BASE, "int8")
    assert sent.encoding == UpdateEncoding(name="int8", scales={"w": 1 / 128})
    assert sent.parameters["w"].dtype == np.int8
    assert sent.parameters["w"].tolist() == [[127, -32], [0, 1]]
    assert restored(sent, BASE)["w"].tolist() == [[1.9921875, 1.75], [3.0, 4.0078125]]
    assert sent.lost["w"].dtype == np.float32
    np.testing.assert_allclose(sent.lost["w"], np.array([[0, 0], [0, 0.0021875]]), atol=5e-7)  # 0.01 - 1/128


def test_float16_is_the_nearest_of_each_difference() -> None:
    base = {"w": np.array([10.0, 10.0, 10.0], np.float32)}
    update = {"w": np.array([10.5, 10.0 - 2049.0, 10.0], np.float32)}
    sent = encoded(update, base, "float16")
    assert sent.encoding == UpdateEncoding(name="float16")
    assert sent.parameters["w"].dtype == np.float16
    assert sent.parameters["w"].tolist() == [0.5, -2048.0, 0.0]  # 2049 lies between 2048 and 2050, even wins
    assert restored(sent, base)["w"].tolist() == [10.5, -2038.0, 10.0]
    assert sent.lost["w"].tolist() == [0.0, -1.0, 0.0]


@pytest.mark.parametrize("encoding", ["float16", "int8"])
def test_what_is_no_float_travels_as_it_is(encoding: EncodingName) -> None:
    sent = encoded(UPDATE, BASE, encoding)
    after = restored(sent, BASE)
    for name in ("steps", "frozen"):
        assert sent.parameters[name] is UPDATE[name]
        assert after[name].dtype == UPDATE[name].dtype
        assert after[name].tolist() == UPDATE[name].tolist()
    assert sent.lost.keys() == {"w"}


@pytest.mark.parametrize(
    ("dtype", "float16", "int8"),
    [
        (np.float64, np.float16, np.int8),
        (np.float32, np.float16, np.int8),
        (np.float16, None, np.int8),
        (ml_dtypes.bfloat16, None, np.int8),
        (np.int32, None, None),
        (np.int8, None, None),
        (np.bool_, None, None),
    ],
)
def test_floats_that_are_wider_than_the_encoding_travel_as_differences(dtype: Any, float16: Any, int8: Any) -> None:
    assert wire_dtype(np.dtype(dtype), "float16") == (None if float16 is None else np.dtype(float16))
    assert wire_dtype(np.dtype(dtype), "int8") == (None if int8 is None else np.dtype(int8))
    assert wire_dtype(np.dtype(dtype), "full") is None


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_the_tensor_that_comes_back_has_the_models_dtype(dtype: Any) -> None:
    base = {"w": np.array([1.0, 2.0], dtype), "empty": np.zeros((0, 3), dtype), "scalar": np.array(4.0, dtype)}
    update = {"w": np.array([1.5, 1.5], dtype), "empty": base["empty"], "scalar": np.array(4.0, dtype)}
    after = restored(encoded(update, base, "int8"), base)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in after.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in base.items()
    }
    # 0.5 is 127 steps of 0.5 / 127, rounded up to a float32: nothing that 11 bits would show
    np.testing.assert_allclose(after["w"].astype(float), [1.5, 1.5], rtol=1e-6)


def test_rounding_to_the_models_own_dtype_is_part_of_the_loss() -> None:
    base = {"w": np.array([2048.0, 0.0], np.float16)}  # where the next float16 is 2050
    update = {"w": np.array([2050.0, 127.0], np.float16)}
    sent = encoded(update, base, "int8", {"w": np.array([1.0, 0.0], np.float32)})
    assert sent.parameters["w"].tolist() == [3, 127]
    assert restored(sent, base)["w"].tolist() == [2052.0, 127.0]  # 2051 lies between two of them, even wins
    assert sent.lost["w"].tolist() == [-1.0, 0.0]


def test_a_tensor_that_did_not_move_has_the_scale_zero() -> None:
    base = {"w": np.array([0.1, -7.0], np.float32)}
    sent = encoded(base, base, "int8")
    assert sent.encoding.scales == {"w": 0.0}
    assert restored(sent, base)["w"].tobytes() == base["w"].tobytes()
    assert not sent.lost["w"].any()


@pytest.mark.parametrize(
    ("encoding", "difference"),
    [
        ("float16", 65520.0),  # the least that rounds to infinity
        ("float16", np.nan),
        ("float16", np.inf),
        ("int8", np.nan),
        ("int8", -np.inf),
        ("int8", 1e300),  # of which no float32 is a 127th
    ],
)
def test_what_an_encoding_cannot_hold_has_to_travel_in_full(encoding: EncodingName, difference: float) -> None:
    base = {"a": np.zeros(2), "w": np.zeros(2)}
    assert encode_update({"a": np.ones(2), "w": np.array([0.0, difference])}, base, encoding, {}) is None


def test_the_largest_differences_that_fit_fit() -> None:
    base = {"w": np.zeros(2)}
    assert restored(encoded({"w": np.array([65519.0, 1.0])}, base, "float16"), base)["w"].tolist() == [65504.0, 1.0]
    top = float(np.finfo(np.float32).max) * 127
    assert restored(encoded({"w": np.array([top, -top])}, base, "int8"), base)["w"].tolist() == [top, -top]


values = st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20)


@given(values)
def test_int8_is_never_off_by_more_than_half_a_step(drawn: list[float]) -> None:
    base = {"w": np.zeros(len(drawn))}
    sent = encoded({"w": np.array(drawn)}, base, "int8")
    off = np.abs(restored(sent, base)["w"] - drawn)
    assert (off <= sent.encoding.scales["w"] / 2 * (1 + 1e-12)).all()
    assert np.abs(sent.parameters["w"].astype(int)).max() <= 127


@given(st.lists(st.floats(-6e4, 6e4), min_size=1, max_size=20))
def test_float16_is_off_by_a_2048th_at_most(drawn: list[float]) -> None:
    base = {"w": np.zeros(len(drawn))}
    off = np.abs(restored(encoded({"w": np.array(drawn)}, base, "float16"), base)["w"] - drawn)
    assert (off <= np.maximum(np.abs(drawn) * 2.0**-11, 2.0**-25)).all()


@pytest.mark.parametrize("encoding", ["float16", "int8"])
@given(st.lists(st.lists(st.floats(-100, 100), min_size=3, max_size=3), min_size=1, max_size=8))
def test_with_feedback_the_sum_over_rounds_is_within_one_step(
    encoding: EncodingName, rounds: list[list[float]]
) -> None:
    base, lost, decoded = {"w": np.zeros(3)}, None, np.zeros(3)
    for difference in rounds:
        sent = encoded({"w": np.array(difference)}, base, encoding, lost)
        decoded += restored(sent, base)["w"]
        lost = sent.lost
    step = sent.encoding.scales["w"] if encoding == "int8" else 2.0**-4  # between 64 and 128
    assert (np.abs(decoded - np.sum(rounds, axis=0)) <= step + 1e-4).all()


def test_without_feedback_small_steps_would_never_arrive() -> None:
    base = {"w": np.zeros(2)}
    update = {"w": np.array([127.0, 0.25])}  # a quarter of a step each round
    alone = sum(restored(encoded(update, base, "int8"), base)["w"][1] for _ in range(100))
    fed, lost = 0.0, None
    for _ in range(100):
        sent = encoded(update, base, "int8", lost)
        fed, lost = fed + restored(sent, base)["w"][1], sent.lost
    assert alone == 0.0
    assert fed == pytest.approx(25.0, abs=1.0)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    base: Parameters = {"w": rng.normal(size=(7, 11)).astype(np.float32), "steps": np.arange(9)}
    update: Parameters = {"w": base["w"] + rng.normal(size=(7, 11)).astype(np.float32), "steps": np.arange(9)}
    for encoding in ("float16", "int8"):
        whole = encoded(update, base, known(encoding))
        monkeypatch.setattr(differences, "BLOCK", 4)
        pieces = encoded(update, base, known(encoding))
        assert pack(pieces.parameters).payload() == pack(whole.parameters).payload()
        assert pieces.encoding == whole.encoding
        assert pieces.lost["w"].tobytes() == whole.lost["w"].tobytes()
        assert restored(pieces, base)["w"].tobytes() == restored(whole, base)["w"].tobytes()
        monkeypatch.undo()


def test_the_layout_is_the_models_however_the_file_was_laid_out() -> None:
    """Of the base model as a user uploaded it: unaligned, and in an order of its own."""
    header = (
        b'{"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}'
    )
    origin, _ = unpack(len(header).to_bytes(8, "little") + header + b"\x01" + np.float32(2.0).tobytes())
    base = origin.parameters()
    sent = encoded({"a": np.array([False]), "b": np.array([3.0], np.float32)}, base, "int8")
    packed = pack(sent.parameters)
    check_encoded(packed, sent.encoding, origin)
    block = b"".join(expand(packed, sent.encoding, origin))
    assert block[:1] == b"\x00"
    assert np.frombuffer(block[1:], np.float32)[0] == pytest.approx(3.0, rel=1e-7)


# What must not pass

HONEST = encoded(UPDATE, BASE, "int8")


@pytest.mark.parametrize(
    ("tensors", "scales", "reason"),
    [
        ({"w": UPDATE["w"]}, {"w": 1.0}, r"tensor 'w' is float32\[2, 2\], but int8 needs int8\[2, 2\]"),
        (
            {"w": np.zeros((2, 2), np.float16)},
            {"w": 1.0},
            r"tensor 'w' is float16\[2, 2\], but int8 needs int8\[2, 2\]",
        ),
        ({"w": np.zeros(4, np.int8)}, {"w": 1.0}, r"tensor 'w' is int8\[4\], but int8 needs int8\[2, 2\]"),
        ({"steps": np.zeros(2, np.int8)}, {"w": 1.0}, r"tensor 'steps' is int8\[2\], but int8 needs int64\[2\]"),
        ({"more": np.zeros(2, np.int8)}, {"w": 1.0}, r"missing \[\], unknown \['more'\]"),
        ({}, {}, r"scales must name the tensors that are differences: see \['w'\]"),
        ({}, {"w": 1.0, "steps": 1.0}, r"scales must name .* see \['steps'\]"),
        ({}, {"W": 1.0}, r"scales must name .* see \['W', 'w'\]"),
    ],
)
def test_tensors_and_scales_must_be_those_of_the_encoding(
    tensors: Parameters, scales: dict[str, float], reason: str
) -> None:
    sent = pack({**HONEST.parameters, **tensors})
    with pytest.raises(MalformedParameters, match=reason):
        check_encoded(sent, UpdateEncoding(name="int8", scales=scales), pack(BASE))


def test_a_missing_tensor_is_missed() -> None:
    sent = pack({name: tensor for name, tensor in HONEST.parameters.items() if name != "steps"})
    with pytest.raises(MalformedParameters, match=r"missing \['steps'\], unknown \[\]"):
        check_encoded(sent, HONEST.encoding, pack(BASE))


def test_float16_has_no_scales() -> None:
    sent = encoded(UPDATE, BASE, "float16")
    with pytest.raises(MalformedParameters, match=r"see \['w'\]"):
        check_encoded(pack(sent.parameters), UpdateEncoding(name="float16", scales={"w": 1.0}), pack(BASE))


def test_an_offer_that_is_not_known_means_in_full() -> None:
    assert [known(name) for name in ("full", "float16", "int8", "int4", "")] == [
        "full", "float16", "int8", "full", "full"
    ]  # fmt: skip
