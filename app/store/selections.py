"""Store the selection with which each round was planned, as one compressed document for each round.

It is written once, and read only when a caller asks for the reasons. Ten thousand reasons should not be rows, and
reading a round should not read them.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.store.documents import value_of
from app.store.tables import selections
from tcsfeel.selection.types import Chosen, Plan, Selection, Skipped
from tcsfeel.selection.unselected import Phrase, Unselected

_FASTEST = 1  # level of compression
_NUMBERS = np.dtype("<f4")

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
    document = {name: getattr(selection, name) for name in Selection.__slots__} | {
        "selected": [asdict(chosen) for chosen in selection.selected],
        **_skipped(selection.skipped),
        "plan": asdict(selection.plan),
    }
    return zlib.compress(json.dumps(document).encode(), _FASTEST)


def unpacked(document: bytes) -> Selection:
    """Read the selection in `document`. Call this from a thread, too."""
    given = json.loads(zlib.decompress(document))
    skipped: Sequence[Skipped] = tuple(value_of(Skipped, skipped) for skipped in given["skipped"])
    if (drawn := given.pop("unselected", None)) is not None:
        numbers = np.frombuffer(base64.b64decode(drawn["numbers"]), _NUMBERS)
        skipped = Unselected(tuple(drawn["client_ids"]), Phrase(drawn["text"], numbers), tuple(skipped))
    return value_of(
        Selection,
        given
        | {
            "selected": tuple(value_of(Chosen, chosen) for chosen in given["selected"]),
            "skipped": skipped,
            "plan": value_of(Plan, given["plan"]),
        },
    )


def _skipped(given: Sequence[Skipped]) -> dict[str, Any]:
    """Make the part of the document about clients that were not selected. Numbers of a phrase stay numbers."""
    if not isinstance(given, Unselected):
        return {"skipped": [{"client_id": one.client_id, "reason": one.reason} for one in given]}
    unselected = {
        "client_ids": given.client_ids,
        "text": given.phrase.text,
        "numbers": base64.b64encode(given.phrase.numbers.astype(_NUMBERS).tobytes()).decode(),
    }
    return {"unselected": unselected, **_skipped(given.others)}
