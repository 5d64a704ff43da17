"""Parameters survive the wire, bit by bit, and the reference implementation agrees about the layout."""

import contextlib
import json
import struct
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tcsfeel.wire.codec import Packed, decode, encode, pack, pieces, unpack
from tcsfeel.wire.errors import MalformedParameters
from tcsfeel.wire.headers import DTYPES

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
OF_NUMPY = [dtype for dtype in DTYPES.values() if dtype != BFLOAT16]  # hypothesis knows no other

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda name: name != "__metadata__")
arrays = st.sampled_from(OF_NUMPY).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
parameter_sets = st.dictionaries(names, arrays, max_size=6)
metadata_maps = st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"]), max_size=50), max_size=4)


def assert_same(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> None:
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes()  # NaNs and negative zeros too


@given(parameter_sets, metadata_maps)
def test_what_is_encoded_comes_back(parameters: dict[str, npt.NDArray[Any]], metadata: dict[str, str]) -> None:
    decoded, found = decode(encode(parameters, metadata))

    assert found == metadata
    assert decoded.keys() == parameters.keys()
    for name, array in parameters.items():
        assert_same(decoded[name], array)


@given(parameter_sets)
def test_the_bytes_do_not_depend_on_the_order_of_the_mapping(parameters: dict[str, npt.NDArray[Any]]) -> None:
    assert encode(dict(reversed(parameters.items()))) == encode(parameters)


@given(parameter_sets, metadata_maps)
def test_the_reference_implementation_reads_what_we_write(
    parameters: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    read = safetensors.numpy.load(encode(parameters, metadata))

    assert read.keys() == parameters.keys()
    for name, array in parameters.items():
        assert_same(read[name], array)


@given(parameter_sets, metadata_maps)
def test_we_read_what_the_reference_implementation_writes(
    parameters: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    decoded, found = decode(safetensors.numpy.save(parameters, metadata or None))  # it writes no JSON for {}, {}

    assert found == metadata
    for name, array in parameters.items():
        assert_same(decoded[name], array)


@given(st.binary(max_size=300))
def test_noise_is_refused_or_holds_no_tensors(noise: bytes) -> None:
    with contextlib.suppress(MalformedParameters):
        assert decode(noise)[0] == {}


@given(parameter_sets, st.data())
def test_a_file_with_one_changed_header_byte_is_read_or_refused(
    parameters: dict[str, npt.NDArray[Any]], data: st.DataObject
) -> None:
    changed = bytearray(encode(parameters))
    (length,) = struct.unpack_from("<Q", changed)
    place = data.draw(st.integers(0, 7 + length))
    changed[place] = data.draw(st.integers(0, 255))

    with contextlib.suppress(MalformedParameters):
        decode(changed)


def test_bfloat16_is_a_float32_of_two_bytes() -> None:
    file = encode({"w": np.array([[1.0, -2.5]], BFLOAT16)})
    (length,) = struct.unpack_from("<Q", file)

    assert json.loads(file[8 : 8 + length])["w"]["dtype"] == "BF16"
    assert file[8 + length :].hex() == "803f" + "20c0"  # 0x3f80 and 0xc020, the upper halves of 0x3f800000, 0xc0200000
    assert_same(decode(file)[0]["w"], np.array([[1.0, -2.5]], BFLOAT16))


@given(parameter_sets, metadata_maps)
def test_pieces_are_the_file_and_copy_nothing(
    parameters: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    found = list(pieces(parameters, metadata))

    assert b"".join(found) == b"".join(pack(parameters).payload(metadata))
    for piece in found[1:]:
        assert isinstance(piece, memoryview)
        assert not piece or any(
            np.shares_memory(np.frombuffer(piece, np.uint8), array) for array in parameters.values()
        )


def test_other_byte_orders_and_strides_are_sent_as_values() -> None:
    big = np.arange(6, dtype=">f4").reshape(2, 3)

    decoded, _ = decode(encode({"big": big, "turned": big.T, "thinned": big[:, ::2]}))

    np.testing.assert_array_equal(decoded["big"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(decoded["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(decoded["thinned"], [[0, 2], [3, 5]])


def test_one_block_serves_many_headers_without_a_copy() -> None:
    packed = pack({"w": np.ones(1000, np.float32)})

    _, first = packed.payload({"task": "1"})
    _, second = packed.payload({"task": "2"})

    assert first.obj is second.obj


def test_decoded_arrays_are_read_only_views_of_the_buffer() -> None:
    buffer = bytearray(encode({"w": np.zeros(4, np.float32), "none": np.zeros((0, 3), np.float32)}))

    decoded, _ = decode(buffer)

    assert np.shares_memory(decoded["w"], np.frombuffer(buffer, np.uint8))
    for array in decoded.values():
        assert not array.flags.writeable


def test_tensors_start_aligned_whatever_their_names() -> None:
    packed = pack({"a": np.zeros(3, np.uint8), "b": np.zeros(3, np.float64), "c": np.zeros(5, np.float16)})
    header, _ = packed.payload({"any": "length"})

    assert len(header) % 8 == 0
    assert all(spec.start * 8 % int(spec.dtype[1:]) == 0 for spec in packed.layout.values())


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"__metadata__": np.zeros(1)}, "cannot be named __metadata__"),
        ({"w": np.zeros(1, np.complex64)}, "tensor 'w' has dtype complex64"),
        ({"w": np.array(["text"])}, "tensor 'w' has dtype <U4"),
        ({"w": np.array([object()])}, "tensor 'w' has dtype object"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(parameters: dict[str, npt.NDArray[Any]], reason: str) -> None:
    with pytest.raises(MalformedParameters, match=reason):
        pack(parameters)


def test_the_layout_is_the_documented_one() -> None:
    """Eight bytes of length, JSON padded with spaces, then 2.0 and 3.0 as little-endian float32."""
    header, block = pack({"w": np.array([[2.0, 3.0]], np.float32)}).payload({"k": "v"})

    (length,) = struct.unpack("<Q", header[:8])
    assert length == len(header) - 8
    assert json.loads(header[8:]) == {
        "__metadata__": {"k": "v"},
        "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
    }
    assert bytes(block) == bytes.fromhex("00000040 00004040")


def test_unpack_gives_the_block_as_it_lies() -> None:
    file = encode({"w": np.array([1.0], np.float32)}, {"k": "v"})

    packed, metadata = unpack(file)

    assert metadata == {"k": "v"}
    assert b"".join(packed.payload(metadata)) == file


@given(parameter_sets, metadata_maps)
def test_a_file_that_describes_its_tensors_like_another_one_is_read_with_its_layout(
    parameters: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    model = unpack(encode(parameters))[0]
    file = encode(parameters, metadata)
    packed, said = unpack(file, like=model)
    assert (packed.layout, bytes(packed.block), said) == (model.layout, bytes(unpack(file)[0].block), metadata)
    assert (packed.layout is model.layout) == bool(metadata and parameters)


@given(parameter_sets, parameter_sets, st.data())
def test_a_file_that_describes_them_otherwise_is_read_as_it_is(
    parameters: dict[str, npt.NDArray[Any]], others: dict[str, npt.NDArray[Any]], data: st.DataObject
) -> None:
    model = unpack(encode(others))[0]
    file = bytearray(encode(parameters, {"a": "b"}))
    (length,) = struct.unpack_from("<Q", file)
    file[data.draw(st.integers(8, 7 + length))] = data.draw(st.integers(0, 255))
    try:
        expected = unpack(bytes(file))
    except MalformedParameters:
        with pytest.raises(MalformedParameters):
            unpack(bytes(file), like=model)
    else:
        assert unpack(bytes(file), like=model) == expected


def test_a_block_of_another_length_is_refused_although_the_header_is_the_same() -> None:
    model = pack({"a": np.zeros(2, np.float32)})
    file = encode({"a": np.zeros(2, np.float32)}, {"a": "b"})
    for wrong in (file[:-1], file + b"x"):
        with pytest.raises(MalformedParameters, match="the block at"):
            unpack(wrong, like=model)


@given(parameter_sets)
def test_runs_are_the_same_values_in_few_tensors(parameters: dict[str, npt.NDArray[Any]]) -> None:
    packed = pack(parameters)
    runs = Packed(packed.runs, packed.block).parameters()
    kept = [array for array in packed.parameters().values() if array.size]
    dtypes = [run.dtype for run in runs.values()]
    assert all(one != other for one, other in pairwise(dtypes))
    values = b"".join(run.tobytes() for run in runs.values())
    assert values == bytes(packed.block)
    assert sum(run.size for run in runs.values()) == sum(array.size for array in kept)
