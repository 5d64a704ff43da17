"""From an upload as it came to the update in full: what the rest of a round works with.

The update in full is a file of the spool like one that came in full, under a SHA-256 of its own. The same upload and
the same base model give the same bytes, so that an owner elsewhere that asks the agent again gets the same file.
Whatever is wrong with an upload is a reason to reject it. It blocks: call it from a thread.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar

from app.domain.errors import UpdateRejected
from app.domain.trainings import UpdateEncoding
from app.store.model_store import ModelStore, StoredFile, give_back
from app.wire import tasks
from app.wire.codec import Packed, header, unpack
from app.wire.compression import IDENTITY, decompressed
from app.wire.differences import check_encoded, expand
from app.wire.errors import WireError
from app.wire.tasks import EncodingName, read_encoding, read_result, result_metadata

Piece = TypeVar("Piece", bytes, memoryview)

HEADER_ROOM = 1 << 20  # bytes that a compressed upload may hold beside the model's tensors and four of its headers


class Expanded(NamedTuple):
    """An update in full, and the encoding that it came in."""

    file: StoredFile
    encoding: EncodingName


def full_update(
    spool: ModelStore, upload: StoredFile, base: Packed, *, encoding: UpdateEncoding, coding: str
) -> Expanded:
    """The update in full.

    Args:
        spool: where the upload is, and the result will be.
        upload: the body as it came.
        base: the model that training began with.
        encoding: what was offered.
        coding: the content coding that the body came in.

    Raises:
        UpdateRejected: the upload is not what it claims to be, or in an encoding that was not offered.
    """
    try:
        if coding != IDENTITY:
            limit = len(base.block) + 4 * len(header(base.layout)) + HEADER_ROOM
            body = spool.map(upload.sha256)
            upload = spool.write(_released(decompressed(body, limit), [body]))
        mapped = spool.map(upload.sha256)
        sent, metadata = unpack(mapped)
        said = read_encoding(metadata)
        if said.name == "full":
            return Expanded(upload, said.name)
        check_offered(said, encoding)
        check_encoded(sent, said, base)
        top = header(base.layout, result_metadata(read_result(metadata)))
    except WireError as error:
        raise UpdateRejected(str(error)) from error
    whole = _released(expand(sent, said, base), [mapped, base.block])
    return Expanded(spool.write(chain([top], whole)), said.name)


def check_offered(said: tasks.UpdateEncoding, offered: UpdateEncoding) -> None:
    """Raise `UpdateRejected` where an update is encoded as nobody asked for."""
    if said.name not in {"full", offered}:
        raise UpdateRejected(f"it is encoded as {said.name}, which was not offered")


def _released(pieces: Iterable[Piece], maps: Sequence[memoryview]) -> Iterator[Piece]:
    """The pieces, with the memory behind the maps given back after each."""
    for piece in pieces:
        yield piece
        for mapped in maps:
            give_back(mapped)
