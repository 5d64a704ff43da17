"""Read and write participations whose tasks are carried from one round into the next."""

from collections.abc import Collection

from sqlalchemy import bindparam, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.carrying import Carried
from app.domain.rounds import ENDED, OUTSTANDING
from app.store.round_rows import participation_of
from app.store.tables import participations, rounds, trainings

_PARTS = participations.c

# A literal and no parameter, so that the databases can tell that their index for it is enough.
OPEN_CARRIED = (_PARTS.status == literal_column("'carried'")) & _PARTS.carried_to.is_(None)
"""The condition of carried participations that no later round has taken in."""

_OF = _PARTS.training_id == bindparam("of_training")
_OPEN = select(participations).where(_OF, OPEN_CARRIED).order_by(_PARTS.round, _PARTS.rank)
_BASES_OF_OPEN = select(_PARTS.base_model).where(_OF, OPEN_CARRIED)
_BASES_OF_TAKEN_IN = (
    select(_PARTS.base_model)
    .join_from(participations, rounds)
    .where(_OF, _PARTS.status.in_({*OUTSTANDING, "received"}), rounds.c.status.not_in(ENDED))
)
_RESTING = (
    select(_PARTS.training_id)
    .join_from(participations, trainings, _PARTS.training_id == trainings.c.id)
    .where(OPEN_CARRIED, trainings.c.status != "running")
    .distinct()
    .order_by(_PARTS.training_id)
)
_TAKE_IN = update(participations).where(_OF, OPEN_CARRIED).values(carried_to=bindparam("into"))
_END = (
    update(participations)
    .where(
        _OF,
        _PARTS.round == bindparam("of_round"),
        _PARTS.kind == "fit",
        _PARTS.client_id == bindparam("whom"),
        OPEN_CARRIED,
    )
    .values(status=bindparam("as_what"), reason=bindparam("why"))
)


class CarriedRepository:
    """The open carried participations of trainings."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def open(self, training_id: str) -> list[Carried]:
        """Read the open carried participations of a training, those of the oldest round first."""
        rows = await self._connection.execute(_OPEN, {"of_training": training_id})
        return [Carried(row.round, participation_of(row)) for row in rows]

    async def bases(self, training_id: str) -> set[str]:
        """Read the models that carried tasks of a training began with, as long as their updates may be needed."""
        found: set[str] = set()
        for query in (_BASES_OF_OPEN, _BASES_OF_TAKEN_IN):
            names = (await self._connection.execute(query, {"of_training": training_id})).scalars()
            found |= {name for name in names if name is not None}
        return found

    async def resting(self) -> list[str]:
        """Read the trainings that do not run and have open carried tasks."""
        return list((await self._connection.execute(_RESTING)).scalars())

    async def take_in(self, training_id: str, to: int) -> int:
        """Write that the open tasks of a training have gone on into a round. Returns how many they are."""
        written = await self._connection.execute(_TAKE_IN, {"of_training": training_id, "into": to})
        return written.rowcount

    async def end(self, training_id: str, carried: Collection[Carried]) -> None:
        """Write how participations ended whose tasks no round takes in: their status, and the reason."""
        rows = [
            {
                "of_training": training_id,
                "of_round": one.round,
                "whom": one.part.client_id,
                "as_what": one.part.status,
                "why": one.part.reason,
            }
            for one in carried
        ]
        if rows:
            await self._connection.execute(_END, rows)
