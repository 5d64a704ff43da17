"""The selection that each round was planned with, as one compressed document a round.

It is written once and read only by who asks why: ten thousand reasons are no rows, and nothing that a round's own reads
should carry.
"""

import json
import zlib
from dataclasses import asdict

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.store.tables import selections
from tcsfeel.selection.types import Chosen, Plan, Selection, Skipped

_FASTEST = 1  # level of compression


class SelectionRepository:
    """Selections by training and round."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, training_id: str, number: int, document: bytes) -> None:
        """Store what `packed` made."""
        row = {"training_id": training_id, "round": number, "document": document}
        await self._connection.execute(insert(selections).values(row))

    async def get(self, training_id: str, number: int) -> bytes:
        """What `unpacked` takes. Raises `NotFound` where the round has not been planned."""
        query = select(selections.c.document).where(
            selections.c.training_id == training_id, selections.c.round == number
        )
        document: bytes | None = (await self._connection.execute(query)).scalar_one_or_none()
        if document is None:
            raise NotFound("selection", f"{training_id}/{number}")
        return document


def packed(selection: Selection) -> bytes:
    """A selection as bytes. It takes a while for ten thousand clients: call it from a thread."""
    return zlib.compress(json.dumps(asdict(selection)).encode(), _FASTEST)


def unpacked(document: bytes) -> Selection:
    """The selection in `document`; from a thread, too."""
    given = json.loads(zlib.decompress(document))
    return Selection(
        **given
        | {
            "selected": tuple(Chosen(**chosen) for chosen in given["selected"]),
            "skipped": tuple(Skipped(**skipped) for skipped in given["skipped"]),
            "plan": Plan(**given["plan"]),
        }
    )
