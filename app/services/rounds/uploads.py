"""Expand an upload into the full update, which the rest of a round works with.

The full update is a file of the spool with its own SHA-256, like an update that came in full. The same upload and the
same base model give the same bytes, so that another owner that asks the agent again gets the same file. Any mistake in
an upload is a reason to reject it. A file of the spool is removed as soon as the next one has been made from it, so
that there are never more than two. The functions block: call them from a thread.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar

from app.services.rounds.decompressing import decompressed
from app.store.model_store import ModelStore, StoredFile, give_back
from tcsfeel.errors import UpdateRejected
from tcsfeel.wire.codec import Packed, unpack
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.differences import check_encoded, expand
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.headers import LENGTH, check_length, header
from tcsfeel.wire.sizes import AnswerSize
from tcsfeel.wire.tasks import EncodingName, TaskResult, read_encoding, read_result, result_metadata

Piece = TypeVar("Piece", bytes, memoryview)


class FullUpdate(NamedTuple):
    """A full update.

    Attributes:
        file: its file in the spool.
        encoding: the encoding in which it came.
        packed: its tensors, mapped from the file.
        result: the result that the agent reported with it.
    """

    file: StoredFile
    encoding: EncodingName
    packed: Packed
    result: TaskResult


def full_update(
    spool: ModelStore, upload: StoredFile, base: Packed, size: AnswerSize, *, encoding: EncodingName, coding: str
) -> FullUpdate:
    """Read an upload, and return the full update.

    Args:
        spool: the place of the upload and of the result, without other files that are still needed.
        upload: the body as it came.
        base: the model that training began with.
        size: the limit of the upload after it was decompressed.
        encoding: the encoding that was offered.
        coding: the content coding that the body came in.

    Raises:
        UpdateRejected: the upload is not what it claims to be, or in an encoding that was not offered.
    """
    try:
        if coding != IDENTITY:
            body = spool.map(upload.sha256)
            content = spool.write(_released(decompressed(body, size.file_bytes), [body]))
            upload = _in_place_of(upload, content, spool)
        sent, metadata = unpack(spool.map(upload.sha256), size.header_bytes, like=base)
        result = read_result(metadata)
        said = read_encoding(metadata)
        if said.name == "full":
            return FullUpdate(upload, said.name, sent, result)
        if said.name != encoding:
            raise UpdateRejected(f"it is encoded as {said.name}, which was not offered")
        check_encoded(sent, said, base)
        top = header(base.layout, result_metadata(result))
        check_length(len(top) - LENGTH.size, size.header_bytes)
    except WireError as error:
        raise UpdateRejected(str(error)) from error
    whole = _released(expand(sent, said, base), [sent.block, base.block])
    full = _in_place_of(upload, spool.write(chain([top], whole)), spool)
    # The header is ours, so that it need not be parsed: behind it lie the tensors, in the layout of the base.
    return FullUpdate(full, said.name, Packed(base.layout, spool.map(full.sha256)[len(top) :]), result)


def _in_place_of(old: StoredFile, new: StoredFile, spool: ModelStore) -> StoredFile:
    """Return the new file, and remove the old one."""
    if old != new:
        spool.remove(old.sha256)
    return new


def _released(pieces: Iterable[Piece], maps: Sequence[memoryview]) -> Iterator[Piece]:
    """Yield the pieces, and give the memory of the maps back after each."""
    for piece in pieces:
        yield piece
        for mapped in maps:
            give_back(mapped)
