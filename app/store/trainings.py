"""Store trainings as rows."""

import math
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, bindparam, exists, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.parameter_groups import Unmatched
from app.domain.progress import Progress
from app.domain.trainings import STOPPED, Origin, Training, TrainingConfig
from app.store.documents import value_of
from app.store.reading import Part, Walk, read
from app.store.tables import model_versions, trainings

_CONFIG = TypeAdapter(TrainingConfig)
_UNMATCHED = TypeAdapter(Unmatched)
_COMPOSED = {"config", "fence", "progress", "origin", "unmatched"}
_PLAIN = tuple(name for name in Training.__slots__ if name not in _COMPOSED)
_CHANGING = tuple(name for name in _PLAIN if name not in {"id", "created_at", "created_by"})

_OF_ID = trainings.c.id == bindparam("of_id")
_GET = select(trainings).where(_OF_ID)
_ORIGIN = select(trainings.c.origin).where(_OF_ID)
_LOCK = _GET.with_for_update()
_CHANGE = update(trainings).where(_OF_ID)


class TrainingRepository:
    """Trainings, newest first.

    A transaction that holds the row of a training remembers the training, and does not read it again.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.held: Training | None = None

    def hold(self, training: Training) -> None:
        """Remember a training whose row this transaction has locked."""
        self.held = training

    async def add(self, training: Training) -> None:
        row = {name: getattr(training, name) for name in _PLAIN} | _progress(training) | _unmatched(training)
        row |= {"config": asdict(training.config), "fence": training.fence}
        row["origin"] = None if training.origin is None else asdict(training.origin)
        await self._connection.execute(insert(trainings).values(row))

    async def get(self, training_id: str, *, for_update: bool = False) -> Training:
        """Read a training. `for_update` locks the row until the transaction ends. Raises `NotFound`."""
        if self.held is not None and self.held.id == training_id:
            return self.held
        row = (await self._connection.execute(_LOCK if for_update else _GET, {"of_id": training_id})).one_or_none()
        if row is None:
            raise NotFound("training", training_id)
        return training_of(row)

    async def lineage(self, training_id: str) -> list[tuple[str, int]]:
        """Read which trainings a training continues, oldest first: the id and the last round that counts of each."""
        found: list[tuple[str, int]] = []
        while True:
            row = await self._connection.execute(_ORIGIN, {"of_id": training_id})
            if (origin := _origin(row.scalar())) is None:
                return found[::-1]
            training_id = origin.training_id
            found.append((training_id, origin.round))

    async def put(self, training: Training) -> None:
        """Write the parts of a training that change: all but its configuration, origin, creator and lease."""
        row = {name: getattr(training, name) for name in _CHANGING} | _progress(training) | _unmatched(training)
        await self._connection.execute(_CHANGE, {"of_id": training.id, **row})
        if self.held is not None and self.held.id == training.id:
            self.held = training

    async def count_open(self, created_by: str) -> int:
        """Count the trainings of one creator that have not ended."""
        columns = trainings.c
        query = select(func.count()).where(columns.created_by == created_by, columns.status.not_in(STOPPED))
        return int((await self._connection.execute(query)).scalar_one())

    async def configure(self, training: Training) -> None:
        """Write a training's configuration, and when it was changed."""
        row = {"config": asdict(training.config), "updated_at": training.updated_at}
        await self._connection.execute(_CHANGE, {"of_id": training.id, **row})

    async def untidied(self) -> list[str]:
        """Read the trainings with model versions that have changed since `tidied`."""
        tidied = trainings.c.tidied_at.is_not_distinct_from(trainings.c.updated_at)
        of_rounds = exists().where(model_versions.c.training_id == trainings.c.id, model_versions.c.round > 0)
        query = select(trainings.c.id).where(~tidied, of_rounds)
        return list((await self._connection.execute(query)).scalars())

    async def tidied(self, training_id: str, updated_at: float | None) -> None:
        """Record that retention was applied to the training as of `updated_at`; None if it has to be applied again."""
        await self._connection.execute(_CHANGE, {"of_id": training_id, "tidied_at": updated_at})

    async def page(
        self, *, limit: int, after: tuple[float, str] | None, most_bytes: float = math.inf
    ) -> Part[Training]:
        """Read at most `limit` trainings older than `after`, which is the `created_at` and the id of the last one read.

        The list ends with the training with which it has about `most_bytes` as JSON.
        """
        query = select(trainings).order_by(trainings.c.created_at.desc(), trainings.c.id.desc())
        if after is not None:
            query = query.where(_older(*after))
        walk = Walk()
        return await read(
            self._connection,
            query,
            training_of,
            lambda row: _older(row.created_at, row.id),
            limit=limit,
            ends=lambda _: walk.weight >= most_bytes,
            walk=walk,
        )


def _older(created_at: float, training_id: str) -> ColumnElement[bool]:
    return tuple_(trainings.c.created_at, trainings.c.id) < tuple_(created_at, training_id)


def training_of(row: Row[Any]) -> Training:
    values = {name: getattr(row, name) for name in _PLAIN}
    progress = None
    if row.progress_state is not None:
        progress = Progress(row.progress_state, row.progress_since, row.progress_reason)
    return Training(
        config=_CONFIG.validate_python(row.config),
        fence=row.fence,
        progress=progress,
        origin=_origin(row.origin),
        unmatched=None if row.unmatched is None else _UNMATCHED.validate_python(row.unmatched),
        **values,
    )


def _origin(given: dict[str, Any] | None) -> Origin | None:
    return None if given is None else value_of(Origin, given)


def _progress(training: Training) -> dict[str, Any]:
    fields = ("state", "since", "reason")
    return {f"progress_{name}": getattr(training.progress, name, None) for name in fields}


def _unmatched(training: Training) -> dict[str, Any]:
    return {"unmatched": None if training.unmatched is None else asdict(training.unmatched)}
