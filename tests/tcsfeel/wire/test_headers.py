"""Headers are read within bounds: what is too much is refused at its first bytes, and takes no memory."""

import json
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tcsfeel.wire.codec import decode, encode, unpack
from tcsfeel.wire.errors import MalformedParameters
from tcsfeel.wire.headers import MAX_DIMENSIONS, MAX_HEADER_BYTES, MAX_NAME, MAX_SIDE, MAX_TENSORS, MAX_VALUE_BYTES

NESTED = b'{"w":[' + b"[]," * (MAX_HEADER_BYTES // 3 - 5) + b"[]]}"
FLOODS = {
    "lists in a list": NESTED,
    "lists in the metadata": b'{"__metadata__":[' + NESTED[6:],
    "lists in a description": b'{"w":{"shape":[' + NESTED[16:-1] + b"}}",
    "brackets": b"[" * MAX_HEADER_BYTES,
    "objects": b'{"w":' * (MAX_HEADER_BYTES // 5),
    "spaces": b" " * MAX_HEADER_BYTES,
    "one name": b'{"' + b"w" * (MAX_HEADER_BYTES - 2),
    "one digit after the other": b'{"w":' + b"9" * (MAX_HEADER_BYTES - 5),
    "backslashes": b'{"' + b"\\\\" * (MAX_HEADER_BYTES // 2 - 1),
}


def file(header: bytes, block: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + block


def peak(work: Callable[[], Any]) -> int:
    """Bytes that Python had allocated at most during `work`."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("header", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_is_refused_without_being_parsed(header: bytes) -> None:
    body = file(header)

    def refuse() -> None:
        with pytest.raises(MalformedParameters):
            unpack(body)

    assert peak(refuse) < 200_000


def test_a_header_that_is_longer_than_allowed_is_not_read() -> None:
    body = encode({"w": np.zeros(1, np.float32)})
    (length,) = struct.unpack_from("<Q", body)

    assert unpack(body, length)[1] == {}
    with pytest.raises(MalformedParameters, match=f"has {length} bytes, at most {length - 1} are allowed here"):
        unpack(body, length - 1)
    with pytest.raises(MalformedParameters, match=f"at most {MAX_HEADER_BYTES} are allowed here"):
        unpack(file(b"{}" + b" " * MAX_HEADER_BYTES))


@pytest.mark.untraced
def test_as_many_tensors_as_are_allowed_are_read_and_one_more_is_refused() -> None:
    spec = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    entries = {f"layer.{number}": spec for number in range(MAX_TENSORS)}

    assert unpack(file(json.dumps(entries).encode()))[0].layout.keys() == entries.keys()
    with pytest.raises(MalformedParameters, match=f"more than {MAX_TENSORS} tensors"):
        unpack(file(json.dumps(entries | {"more": spec}).encode()))


@pytest.mark.parametrize("letter", ["w", "é", "\U0001f600", '"', "\n", "\\"])
def test_the_longest_name_is_read_however_it_is_escaped(letter: str) -> None:
    name = letter * MAX_NAME
    for escaped in (True, False):
        header = json.dumps({name: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, ensure_ascii=escaped)
        assert decode(file(header.encode(), b"\x07"))[0][name].tolist() == [7]


def test_the_longest_description_is_read_however_it_is_indented() -> None:
    shape = [MAX_SIDE] + [1] * (MAX_DIMENSIONS - 2) + [0]
    header = json.dumps({"w": {"dtype": "F64", "shape": shape, "data_offsets": [0, 0]}}, indent=16).encode()

    assert unpack(file(header))[0].layout["w"].shape == tuple(shape)


def test_the_longest_metadata_entry_is_read() -> None:
    value = "x" * (MAX_VALUE_BYTES - 2)

    assert decode(encode({}, {"k": value}))[1] == {"k": value}


def test_metadata_may_stand_behind_the_tensors() -> None:
    header = b' {"w": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}, "__metadata__": {"k": "v"} } '

    tensors, metadata = decode(file(header, b"\x07"))

    assert (tensors["w"].tolist(), metadata) == (7, {"k": "v"})
