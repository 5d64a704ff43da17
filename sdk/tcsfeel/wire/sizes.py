"""Limit the size of an agent's answer by its purpose, so that a larger one can be cut off while it comes in."""

from typing import NamedTuple

from tcsfeel.wire.codec import Packed
from tcsfeel.wire.headers import LENGTH, MAX_HEADER_BYTES, header

ERROR_BYTES = 16_000  # of the body of an agent's error: the control plane reads no more
ROOM = 1 << 16  # bytes for metadata, in addition to the size that follows from the model


class AnswerSize(NamedTuple):
    """The most bytes that the header of an answer may have, and the whole file when it is not compressed."""

    header_bytes: int
    file_bytes: int


EVALUATION = AnswerSize(ROOM, ROOM)
"""The limit of the answer to an evaluate task, which needs no tensors."""


def fit_size(model: Packed) -> AnswerSize:
    """Return the limit of the answer to a fit task: the model's tensors, four times its header, and `ROOM`.

    The header may be longer than ours, because other programs indent it, and the scales of int8 name every tensor
    again.
    """
    header_bytes = min(MAX_HEADER_BYTES, 4 * len(header(model.layout)) + ROOM)
    return AnswerSize(header_bytes, LENGTH.size + header_bytes + len(model.block))
