"""Find the rounds in which the server has counted the control variates of SCAFFOLD."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import participations, rounds

MANY = 500  # clients that are asked for at once


class ControlRoundRepository:
    """Reads participations and rounds."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def counted(self, training_id: str, client_ids: Sequence[str], *, after: int, before: int) -> dict[str, int]:
        """Read the last round of each client whose model was made of an update of this client.

        Args:
            training_id: of the rounds.
            client_ids: those without such a round are not in the result.
            after: only rounds after this one.
            before: only rounds before this one.
        """
        columns = participations.c
        query = (
            select(columns.client_id, func.max(columns.round))
            .join_from(participations, rounds)
            .where(
                columns.training_id == training_id,
                columns.kind == "fit",
                columns.status == "received",
                columns.round > after,
                columns.round < before,
                rounds.c.model.is_not(None),
            )
            .group_by(columns.client_id)
        )
        found: dict[str, int] = {}
        for start in range(0, len(client_ids), MANY):
            some = columns.client_id.in_(client_ids[start : start + MANY])
            rows = await self._connection.execute(query.where(some))
            found.update((row[0], row[1]) for row in rows)
        return found
