"""Files that must not be believed, each with the reason that it is refused with."""

import json
import struct
from typing import Any

import pytest

from app.wire.codec import decode
from app.wire.errors import MalformedParameters, WireError


def file(header: object, block: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + block


def spec(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


FOUR = b"\0" * 4
EIGHT = b"\0" * 8

HOSTILE = {
    "nothing": (b"", "0 bytes are too few"),
    "a cut length": (b"\0" * 7, "7 bytes are too few"),
    "a header longer than the file": (struct.pack("<Q", 100) + b"{}", "claims 100 bytes"),
    "a header of exabytes": (struct.pack("<Q", 2**63) + b"{}", "claims 9223372036854775808 bytes"),
    "no JSON": (file(b"{"), "not JSON"),
    "no text": (file(b"\xff\xfe\xfd"), "not JSON"),
    "an empty header": (file(b""), "not JSON"),
    "brackets without end": (file(b"[" * 100_000), "not JSON"),
    "a number of a hundred thousand digits": (file(b'{"w":' + b"9" * 100_000 + b"}"), "not JSON"),
    "a list": (file([]), "not a JSON object"),
    "a name given twice": (file(b'{"w":1,"w":2}'), "names 'w' twice"),
    "NaN": (file(b'{"w":NaN}'), "holds NaN"),
    "infinity": (file(b'{"__metadata__":{"k":-Infinity}}'), "holds -Infinity"),
    "metadata that is no map": (file({"__metadata__": ["k"]}), "must map strings to strings"),
    "metadata that is null": (file({"__metadata__": None}), "must map strings to strings"),
    "metadata that is nested": (file({"__metadata__": {"k": {"v": 1}}}), "must map strings to strings"),
    "a tensor that is no object": (file({"w": 1}), "exactly dtype, shape and data_offsets"),
    "a tensor without offsets": (file({"w": {"dtype": "F32", "shape": [1]}}), "exactly dtype, shape"),
    "a tensor with more": (file({"w": {**spec(), "x": 1}}, FOUR), "exactly dtype, shape"),
    "an unknown dtype": (file({"w": spec("F8_E4M3", [4])}, FOUR), "unknown dtype 'F8_E4M3'"),
    "a dtype that cannot be a key": (file({"w": spec(["F32"])}, FOUR), "unknown dtype"),
    "a shape that is a number": (file({"w": spec(shape=1)}, FOUR), "broken shape"),
    "a negative side": (file({"w": spec(shape=[-1, -1])}, FOUR), "broken shape"),
    "a fractional side": (file({"w": spec(shape=[1.0])}, FOUR), "broken shape"),
    "a side that is true": (file({"w": spec(shape=[True])}, FOUR), "broken shape"),
    "a nested shape": (file({"w": spec(shape=[[1]])}, FOUR), "broken shape"),
    "three offsets": (file({"w": spec(offsets=[0, 4, 8])}, FOUR), "broken data_offsets"),
    "offsets as text": (file({"w": spec(offsets="04")}, FOUR), "broken data_offsets"),
    "a negative offset": (file({"w": spec(offsets=[-4, 0])}, FOUR), "broken data_offsets"),
    "a fractional offset": (file({"w": spec(offsets=[0.0, 4.0])}, FOUR), "broken data_offsets"),
    "offsets backwards": (file({"w": spec(offsets=[4, 0])}, FOUR), "does not fill its data_offsets"),
    "a shape larger than its bytes": (file({"w": spec(shape=[2])}, FOUR), "does not fill its data_offsets"),
    "a shape whose product overflows": (file({"w": spec(shape=[2**62, 4])}, FOUR), "has a broken shape"),
    "an offset past the file": (file({"w": spec(shape=[2], offsets=[0, 8])}, FOUR), "end at 8, the block at 4"),
    "bytes left over": (file({"w": spec()}, EIGHT), "end at 4, the block at 8"),
    "bytes that belong to nobody": (file({}, b"\0"), "end at 0, the block at 1"),
    "a hole": (file({"a": spec(), "b": spec(offsets=[8, 12])}, b"\0" * 12), "'b' starts at 8, where 4 was due"),
    "an overlap": (file({"a": spec(), "b": spec(offsets=[2, 6])}, b"\0" * 6), "'b' starts at 2, where 4 was due"),
    "two tensors in one place": (file({"a": spec(), "b": spec()}, FOUR), "'b' starts at 0, where 4 was due"),
}


@pytest.mark.parametrize(("body", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedParameters, match=reason) as caught:
        decode(body)

    assert isinstance(caught.value, WireError)
    assert len(str(caught.value)) < 1000


UNBUILDABLE = {
    "an empty tensor with an impossible side": file({"w": spec(shape=[0, 10**30], offsets=[0, 0])}),
    "an empty tensor too big to index": file({"w": spec(shape=[0, 2**62], offsets=[0, 0])}),
    "more dimensions than numpy has": file({"w": spec(shape=[1] * 65)}, FOUR),
}


@pytest.mark.parametrize("body", UNBUILDABLE.values(), ids=UNBUILDABLE.keys())
def test_a_shape_that_no_array_can_have_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedParameters):
        decode(body)
