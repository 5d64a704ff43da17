"""Store what clients' updates in a training tell about their labels: a running mean of sketches for each client."""

from collections.abc import Mapping

import numpy as np
from sqlalchemy import bindparam, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.reading import NARROW, read
from app.store.tables import sketches
from tcsfeel.selection.sketches import averaged

Sketch = tuple[float, ...]

_VECTOR = np.dtype("<f4")

_KEY = (sketches.c.training_id == bindparam("of_training")) & (sketches.c.client_id == bindparam("of_client"))
_KNOWN = select(sketches.c.client_id, sketches.c.vector, sketches.c.rounds).where(
    sketches.c.training_id == bindparam("of_training"),
    sketches.c.client_id.in_(bindparam("of_clients", expanding=True)),
)
_ADD = insert(sketches)
_CHANGE = update(sketches).where(_KEY)


class SketchRepository:
    """Mean sketches by training and client."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fold(self, training_id: str, newest: Mapping[str, Sketch]) -> dict[str, Sketch]:
        """Add a round's sketches to the means of their clients, and return the new means.

        Only the owner of the training may call this, as it reads before it writes.
        """
        if not newest:
            return {}
        wanted = {"of_training": training_id, "of_clients": list(newest)}
        known = {row.client_id: row for row in await self._connection.execute(_KNOWN, wanted)}
        vectors = {client_id: _packed(sketch) for client_id, sketch in newest.items()}
        for client_id, row in known.items():
            vectors[client_id] = _packed(averaged(_unpacked(row.vector), row.rounds, newest[client_id]))
        added = [
            {"training_id": training_id, "client_id": client_id, "vector": vector, "rounds": 1}
            for client_id, vector in vectors.items()
            if client_id not in known
        ]
        changed = [
            {
                "of_training": training_id,
                "of_client": client_id,
                "vector": vectors[client_id],
                "rounds": row.rounds + 1,
            }
            for client_id, row in known.items()
        ]
        if added:
            await self._connection.execute(_ADD, added)
        if changed:
            await self._connection.execute(_CHANGE, changed)
        return {client_id: _unpacked(vector) for client_id, vector in vectors.items()}

    async def copy(self, source: str, training_id: str) -> None:
        """Give a training the means of another one, which has none of its own yet."""
        columns = (literal(training_id), sketches.c.client_id, sketches.c.vector, sketches.c.rounds)
        found = select(*columns).where(sketches.c.training_id == source)
        await self._connection.execute(insert(sketches).from_select(list(sketches.c.keys()), found))

    async def means(self, training_id: str) -> dict[str, Sketch]:
        """Read the mean of each client that has one in this training."""
        columns = sketches.c
        query = (
            select(columns.client_id, columns.vector)
            .where(columns.training_id == training_id)
            .order_by(columns.client_id)
        )
        found = await read(
            self._connection,
            query,
            lambda row: (row.client_id, _unpacked(row.vector)),
            lambda row: columns.client_id > row.client_id,
            many=NARROW,
        )
        return dict(found.items)


def _packed(sketch: Sketch) -> bytes:
    return np.asarray(sketch, _VECTOR).tobytes()


def _unpacked(vector: bytes) -> Sketch:
    return tuple(np.frombuffer(vector, _VECTOR).tolist())
