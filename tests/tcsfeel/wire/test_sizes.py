"""What an answer may have follows from the model that it is for."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsfeel.wire.codec import Packed, Parameters, encode, pack, unpack
from tcsfeel.wire.compression import ZSTD, compressed, largest
from tcsfeel.wire.differences import encode_update
from tcsfeel.wire.errors import MalformedParameters
from tcsfeel.wire.headers import MAX_HEADER_BYTES, MAX_NAME, MAX_TENSORS
from tcsfeel.wire.sizes import EVALUATION, ROOM, fit_size
from tcsfeel.wire.tasks import MOST_EXAMPLES, EncodingName, TaskResult, result_metadata

RESULT = TaskResult(num_examples=MOST_EXAMPLES, loss=-0.1 - 0.2, accuracy=1 / 3, train_seconds=1 / 7)
letters = st.characters(exclude_categories=["Cs"])
models = st.dictionaries(
    st.text(letters, max_size=MAX_NAME).filter(lambda name: name != "__metadata__"),
    st.sampled_from(["<f8", "<f4", "<f2", "<i8", "?"]).map(lambda dtype: np.ones(3, dtype)),
    max_size=8,
)


def indented(file: bytes) -> bytes:
    """The same file with a header as a person would write it."""
    (length,) = struct.unpack_from("<Q", file)
    header = json.dumps(json.loads(file[8 : 8 + length]), indent=2).encode()
    return struct.pack("<Q", len(header)) + header + file[8 + length :]


@given(models, st.sampled_from(["full", "float16", "int8"]))
def test_an_honest_answer_fits(parameters: Parameters, encoding: EncodingName) -> None:
    size = fit_size(pack(parameters))
    made = None if encoding == "full" else encode_update(parameters, parameters, encoding, {})
    body = encode(parameters, result_metadata(RESULT))
    if made is not None:
        body = encode(made.parameters, result_metadata(RESULT, made.encoding))

    for file in (body, indented(body)):
        assert len(file) <= size.file_bytes
        unpack(file, size.header_bytes)
    assert len(encode({}, result_metadata(RESULT))) <= EVALUATION.file_bytes


def test_a_model_of_many_long_names_gets_the_header_that_it_needs() -> None:
    names = [f"{number:05}".ljust(100, "n") for number in range(2000)]
    size = fit_size(pack({name: np.zeros(1, np.float32) for name in names}))

    assert 4 * 2000 * 100 < size.header_bytes < 4 * 2000 * 200 + ROOM
    assert size.file_bytes == 8 + size.header_bytes + 4 * 2000


def test_the_size_of_a_small_model_is_small() -> None:
    model = pack({"w": np.zeros(1000, np.float32)})
    length = len(b"".join(model.payload())) - 4000

    assert fit_size(model) == (4 * length + ROOM, 8 + 4 * length + ROOM + 4000)


def test_a_header_beyond_the_models_is_refused_where_the_file_would_have_the_room() -> None:
    model = pack({"w": np.zeros(1_000_000, np.uint8)})
    body = encode({}, {"x": "x" * 500_000})
    size = fit_size(model)

    assert len(body) < size.file_bytes
    with pytest.raises(MalformedParameters, match=f"at most {size.header_bytes} are allowed here"):
        unpack(body, size.header_bytes)


def test_the_header_of_the_largest_model_there_is_stays_within_what_any_file_may_have() -> None:
    layout = unpack(encode({f"{number:040}": np.zeros(0) for number in range(MAX_TENSORS)}))[0].layout

    assert fit_size(Packed(layout, memoryview(b""))).header_bytes == MAX_HEADER_BYTES


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 5_000_000])
def test_what_is_random_fits_compressed_too(size: int) -> None:
    noise = np.random.default_rng(size).bytes(size)

    assert len(b"".join(compressed(iter([noise])))) <= largest(size, ZSTD) + 64
    assert largest(size, "identity") == size
