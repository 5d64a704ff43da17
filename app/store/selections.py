"""Store the selection with which each round was planned, as one compressed document for each round.

It is written once, and read only when a caller asks for the reasons. Ten thousand reasons should not be rows, and
reading a round should not read them.

A document is JSON that zlib has compressed. After it comes what there is of each candidate, in three more streams of
zlib: the ids, the position of the reason among the texts, and the number in it. Many rounds have the same candidates,
whose ids are compressed once.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.store.documents import value_of
from app.store.tables import selections
from tcsfeel.selection.types import Chosen, Plan, Selection, Skipped
from tcsfeel.selection.unselected import Phrase, Unselected

_FASTEST = 1  # level of compression
_NUMBERS = np.dtype("<f4")  # of documents of earlier versions
_KEPT_IDS = 4  # fleets

_ADD = insert(selections)


class SelectionRepository:
    """Selections by training and round."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, training_id: str, number: int, document: bytes) -> None:
        """Store a document that `packed` made."""
        row = {"training_id": training_id, "round": number, "document": document}
        await self._connection.execute(_ADD, row)

    async def get(self, training_id: str, number: int) -> bytes:
        """Read a document for `unpacked`. Raises `NotFound` if the round has not been planned."""
        query = select(selections.c.document).where(
            selections.c.training_id == training_id, selections.c.round == number
        )
        document: bytes | None = (await self._connection.execute(query)).scalar_one_or_none()
        if document is None:
            raise NotFound("selection", f"{training_id}/{number}")
        return document


def packed(selection: Selection) -> bytes:
    """Turn a selection into bytes. This takes a while for ten thousand clients, so call it from a thread."""
    skipped, streams = _skipped(selection.skipped)
    document = {name: getattr(selection, name) for name in Selection.__slots__} | {
        "selected": [asdict(chosen) for chosen in selection.selected],
        "plan": asdict(selection.plan),
        **skipped,
    }
    return b"".join((zlib.compress(json.dumps(document).encode(), _FASTEST), *streams))


def unpacked(document: bytes) -> Selection:
    """Read the selection in `document`. Call this from a thread, too."""
    text, *streams = _streams(document)
    given = json.loads(text)
    others = tuple(value_of(Skipped, skipped) for skipped in given["skipped"])
    skipped: Sequence[Skipped] = others
    if (shared := given.pop("reasons", None)) is not None:
        ids, which, numbers = streams
        phrase = Phrase(tuple(shared["texts"]), _array(numbers, shared["numbers"]), _array(which, shared["which"]))
        skipped = Unselected(tuple(json.loads(ids)), phrase, tuple(shared["chosen"]), others)
    elif (drawn := given.pop("unselected", None)) is not None:  # of an earlier version
        numbers_of = np.frombuffer(base64.b64decode(drawn["numbers"]), _NUMBERS)
        skipped = Unselected(tuple(drawn["client_ids"]), Phrase((drawn["text"],), numbers_of), (), others)
    return value_of(
        Selection,
        given
        | {
            "selected": tuple(value_of(Chosen, chosen) for chosen in given["selected"]),
            "skipped": skipped,
            "plan": value_of(Plan, given["plan"]),
        },
    )


def _skipped(given: Sequence[Skipped]) -> tuple[dict[str, Any], list[bytes]]:
    """Make the part of the document about clients that were not selected, and the streams after it."""
    if not isinstance(given, Unselected):
        return {"skipped": [{"client_id": one.client_id, "reason": one.reason} for one in given]}, []
    phrase = given.phrase
    which = np.zeros(len(given.client_ids), np.uint8) if phrase.which is None else phrase.which
    shared = {
        "texts": phrase.texts,
        "which": which.dtype.str,
        "numbers": phrase.numbers.dtype.str,
        "chosen": given.chosen,
    }
    others, _ = _skipped(given.others)
    return {"reasons": shared, **others}, [_listed(given.client_ids), _bytes(which), _bytes(phrase.numbers)]


@lru_cache(_KEPT_IDS)
def _listed(client_ids: tuple[str, ...]) -> bytes:
    return zlib.compress(json.dumps(client_ids).encode(), _FASTEST)


def _bytes(values: npt.NDArray[Any]) -> bytes:
    """Compress numbers: first the first byte of each, then the second one of each, which takes half the time."""
    return zlib.compress(values.view(np.uint8).reshape(len(values), -1).T.tobytes(), _FASTEST)


def _array(stored: bytes, kind: str) -> npt.NDArray[Any]:
    dtype = np.dtype(kind)
    return np.ascontiguousarray(np.frombuffer(stored, np.uint8).reshape(dtype.itemsize, -1).T).view(dtype)[:, 0]


def _streams(document: bytes) -> list[bytes]:
    found = []
    while document:
        stream = zlib.decompressobj()
        found.append(stream.decompress(document))
        document = stream.unused_data
    return found
