"""Files that must not be believed, each with the reason that it is refused with."""

import json
import struct
from typing import Any

import pytest

from tcsfeel.wire.codec import decode
from tcsfeel.wire.errors import MalformedParameters, WireError
from tcsfeel.wire.headers import MAX_VALUE_BYTES


def file(header: object, block: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + block


def spec(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


FOUR = b"\0" * 4
EIGHT = b"\0" * 8
SPEC = json.dumps(spec()).encode()

HOSTILE = {
    "nothing": (b"", "0 bytes are too few"),
    "a cut length": (b"\0" * 7, "7 bytes are too few"),
    "a header longer than the file": (struct.pack("<Q", 100) + b"{}", "claims 100 bytes"),
    "a header of exabytes": (struct.pack("<Q", 2**63) + b"{}", "claims 9223372036854775808 bytes"),
    "no JSON": (file(b"{"), "not JSON"),
    "no text": (file(b"\xff\xfe\xfd"), "not a JSON object"),
    "an empty header": (file(b""), "not a JSON object"),
    "brackets without end": (file(b"[" * 100_000), "not a JSON object"),
    "a name that is no text": (file(b'{"\xff":1}'), "not JSON"),
    "a name with a control character": (file(b'{"\x00":1}'), "not JSON"),
    "a name that does not end": (
        file(b'{"' + b"w" * 100_000),
        "a name of at most 256 characters, with its closing quote",
    ),
    "a name of 257 characters": (file({"w" * 257: spec()}, FOUR), "a name in the header has more than 256 characters"),
    "a name with half a character": (file(b'{"\\ud800":{}}'), "half of a surrogate pair: '.ud800'"),
    "metadata with half a character": (
        file(b'{"__metadata__":{"k":"\\udfff"}}'),
        "metadata entry 'k' in the header holds half of a surrogate pair",
    ),
    "a metadata entry named twice": (file(b'{"__metadata__":{"k":"","k":""}}'), "names 'k' twice"),
    "metadata named twice": (file(b'{"__metadata__":{},"__metadata__":{}}'), "names '__metadata__' twice"),
    "a metadata entry that is too long": (
        file({"__metadata__": {"k": "x" * MAX_VALUE_BYTES}}),
        "the metadata entry 'k' of at most 1048576 ",
    ),
    "a comma too much": (file(b'{"__metadata__":{},}'), "a name of at most .* is missing at byte 19"),
    "a comma too little": (file(b'{"__metadata__":{}"w":{}}'), "not JSON: ',' is missing at byte 18"),
    "no colon": (file(b'{"w"{}}'), "not JSON: ':' is missing at byte 4"),
    "something behind the end": (file(b"{}{}"), "more text follows its end at byte 2"),
    "a gap of spaces": (file(b"{" + b" " * 100_000 + b"}"), "not JSON"),
    "a description without end": (file(b'{"w":{' + b" " * 100_000), "in one object of at most 8192 bytes"),
    "a description with an object in it": (file({"w": {**spec(), "dtype": {}}}, FOUR), "needs exactly dtype, shape"),
    "brackets in a description": (file(b'{"w":{"shape":' + b"[" * 5_000 + b"}}"), "not JSON"),
    "a number of many digits": (file(b'{"w":{"shape":[' + b"9" * 5_000 + b"]}}"), "not JSON"),
    "a number that overflows": (file(b'{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}'), "broken shape"),
    "a number of a hundred thousand digits": (
        file(b'{"w":' + b"9" * 100_000 + b"}"),
        "needs exactly dtype, shape and data_offsets, in one object",
    ),
    "a list": (file([]), "not a JSON object"),
    "a name given twice": (file(b'{"w":%b,"w":%b}' % (SPEC, SPEC), FOUR), "names 'w' twice"),
    "a dtype given twice": (file(b'{"w":{"dtype":"F32","dtype":"F32"}}'), "names 'dtype' twice"),
    "NaN": (file(b'{"w":{"shape":[NaN]}}'), "holds NaN"),
    "infinity": (file(b'{"w":{"shape":[-Infinity]}}'), "holds -Infinity"),
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
    "a hole": (file({"a": spec(), "b": spec(offsets=[8, 12])}, b"\0" * 12), "'b' starts at byte 8, not at 4"),
    "an overlap": (file({"a": spec(), "b": spec(offsets=[2, 6])}, b"\0" * 6), "'b' starts at byte 2, not at 4"),
    "two tensors in one place": (file({"a": spec(), "b": spec()}, FOUR), "'b' starts at byte 0, not at 4"),
}


@pytest.mark.parametrize(("body", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedParameters, match=reason) as caught:
        decode(body)

    assert isinstance(caught.value, WireError)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


UNBUILDABLE = {
    "an empty tensor with an impossible side": file({"w": spec(shape=[0, 10**30], offsets=[0, 0])}),
    "an empty tensor too big to index": file({"w": spec(shape=[0, 2**62], offsets=[0, 0])}),
    "more dimensions than numpy has": file({"w": spec(shape=[1] * 65)}, FOUR),
}


@pytest.mark.parametrize("body", UNBUILDABLE.values(), ids=UNBUILDABLE.keys())
def test_a_shape_that_no_array_can_have_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedParameters):
        decode(body)
