"""Read who took part in the rounds of a training that have ended."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Row, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.selections import PastSelection
from app.store.reading import NARROW, read
from app.store.tables import participations, rounds


class HistoryRepository:
    """Past rounds, as selections see them. What they say does not change any more."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def selections(self, training_id: str, *, after: int, before: int) -> list[PastSelection]:
        """Read who took part in the rounds after `after` and before `before`, oldest first.

        Rounds without selected clients are left out. The two tables are read one after the other, because for a join
        SQLite reads all participations again for each round.
        """
        begun = (
            select(rounds.c.number, rounds.c.started_at)
            .where(rounds.c.training_id == training_id, rounds.c.number > after, rounds.c.number < before)
            .order_by(rounds.c.number)
        )
        starts = [(number, started_at) for number, started_at in await self._connection.execute(begun)]
        columns = participations.c
        key = (columns.round, columns.kind, columns.client_id)  # as in the index
        parts = (
            select(
                columns.round,
                columns.client_id,
                columns.status,
                columns.loss,
                columns.num_examples,
                columns.begun_in,
            )
            .where(columns.training_id == training_id, columns.round > after, columns.round < before)
            .where(columns.kind == "fit")
            .order_by(*key)
        )
        selected: dict[int, set[str]] = defaultdict(set)
        received: dict[int, set[str]] = defaultdict(set)
        losses: dict[int, dict[str, float]] = defaultdict(dict)
        examples: dict[int, dict[str, int]] = defaultdict(dict)

        def keep(row: Row[Any]) -> None:
            if row.begun_in in {None, row.round}:  # else its task was carried from the round that had selected it
                selected[row.round].add(row.client_id)
            if row.status == "received":
                received[row.round].add(row.client_id)
                if row.loss is not None:
                    losses[row.round][row.client_id] = row.loss
                if row.num_examples is not None:
                    examples[row.round][row.client_id] = row.num_examples

        await read(
            self._connection,
            parts,
            keep,
            lambda row: tuple_(*key) > tuple_(row.round, "fit", row.client_id),
            many=NARROW,
        )
        return [
            PastSelection(
                started_at,
                frozenset(selected[number]),
                frozenset(received[number]),
                losses[number],
                examples[number],
            )
            for number, started_at in starts
            if number in selected or number in received
        ]
