"""How large an agent's answer may be: what it is for decides, so that it is cut off while it still comes in."""

from typing import NamedTuple

from tcsfeel.wire.codec import Packed
from tcsfeel.wire.headers import LENGTH, MAX_HEADER_BYTES, header

ROOM = 1 << 16  # bytes for metadata, beside what follows from the model


class AnswerSize(NamedTuple):
    """The most bytes that the header of an answer may have, and the whole file when it is not compressed."""

    header_bytes: int
    file_bytes: int


EVALUATION = AnswerSize(ROOM, ROOM)
"""Of an evaluate task's answer, which needs no tensors."""


def fit_size(model: Packed) -> AnswerSize:
    """Give the size of a fit task's answer: the model's tensors, four times its header, and `ROOM`.

    Other writers indent their headers, and the scales of int8 name every tensor once more.
    """
    header_bytes = min(MAX_HEADER_BYTES, 4 * len(header(model.layout)) + ROOM)
    return AnswerSize(header_bytes, LENGTH.size + header_bytes + len(model.block))
