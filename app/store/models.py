"""Model versions: the parameters that a training had after each round. The bytes are in the model store."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.store.reading import NARROW, Part, read
from app.store.tables import model_versions, rounds, trainings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """Immutable parameters, named by the SHA-256 of their file; round 0 is the initial model. Size in bytes.

    `optimiser_state` names the file of what the server optimiser remembers after this version, None if nothing, or if
    no round can need it any more. A version that was removed stays in the history, its file does not.
    """

    training_id: str
    round: int
    sha256: str
    parent: str | None
    size: int
    created_at: float
    optimiser_state: str | None = None
    pinned_at: float | None = None
    removed_at: float | None = None


@dataclass(frozen=True, slots=True)
class MeasuredVersion:
    """A version, with the accuracy and the goal's metric that were measured in its round; None if they were not."""

    version: ModelVersion
    accuracy: float | None
    goal_value: float | None


class ModelVersionRepository:
    """Versions by training and round, including those that were removed."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, version: ModelVersion) -> None:
        """Add a version. A second one for the same round violates the primary key, because a round makes one model."""
        row = {name: getattr(version, name) for name in ModelVersion.__slots__}
        await self._connection.execute(insert(model_versions).values(row))

    async def replace_initial(self, version: ModelVersion) -> None:
        """Replace the initial version by `version`, if there is one."""
        await self._connection.execute(delete(model_versions).where(_of(version.training_id, [0])))
        await self.add(version)

    async def get(self, training_id: str, round_number: int | None = None) -> ModelVersion:
        """Read the version of a round, or the newest. Raises `NotFound`."""
        query = select(model_versions).where(model_versions.c.training_id == training_id)
        if round_number is not None:
            query = query.where(model_versions.c.round == round_number)
        wanted = "model" if round_number is None else f"model after round {round_number}"
        return await self._newest(query, NotFound(f"{wanted} of training", training_id))

    async def first(self, training_id: str) -> ModelVersion:
        """Read the oldest version, even if it was removed. Raises `NotFound`."""
        number = select(func.min(model_versions.c.round)).where(model_versions.c.training_id == training_id)
        query = select(model_versions).where(
            model_versions.c.training_id == training_id, model_versions.c.round == number.scalar_subquery()
        )
        return await self._newest(query, NotFound("model of training", training_id))

    async def find(self, training_id: str, sha256: str) -> ModelVersion:
        """Read the version with these parameters. Raises `NotFound`."""
        query = select(model_versions).where(
            model_versions.c.training_id == training_id, model_versions.c.sha256 == sha256
        )
        return await self._newest(query, NotFound("model", sha256))

    async def made_since(self, training_id: str, number: int) -> int:
        """Count the versions that rounds from `number` on have made."""
        query = select(func.count()).where(
            model_versions.c.training_id == training_id, model_versions.c.round >= number
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def kept(self, training_id: str) -> list[MeasuredVersion]:
        """Read the versions that were not removed, newest first."""
        return (
            await self._measured(_with_measurements(training_id).where(model_versions.c.removed_at.is_(None)))
        ).items

    async def page(self, training_id: str, *, limit: int, before: int | None) -> Part[MeasuredVersion]:
        """Read at most `limit` versions of rounds before `before`, newest first."""
        query = _with_measurements(training_id)
        return await self._measured(query if before is None else query.where(model_versions.c.round < before), limit)

    async def bytes_of(self, created_by: str, *, without: str) -> int:
        """Sum the sizes of the files that are kept of the trainings of one creator, each file once.

        The initial model of the training `without` does not count, because an upload would replace it.
        """
        replaced = (model_versions.c.training_id == without) & (model_versions.c.round == 0)
        files = (
            select(model_versions.c.sha256, model_versions.c.size)
            .join_from(model_versions, trainings)
            .where(trainings.c.created_by == created_by, model_versions.c.removed_at.is_(None), ~replaced)
            .distinct()
            .subquery()
        )
        return int((await self._connection.execute(select(func.coalesce(func.sum(files.c.size), 0)))).scalar_one())

    async def remove(self, training_id: str, numbers: Collection[int], now: float) -> None:
        """Mark versions as removed."""
        await self._connection.execute(update(model_versions).where(_of(training_id, numbers)).values(removed_at=now))

    async def forget_states(self, training_id: str, numbers: Collection[int]) -> None:
        """Remove the names of the optimiser's states from these versions."""
        forgotten = update(model_versions).where(_of(training_id, numbers)).values(optimiser_state=None)
        await self._connection.execute(forgotten)

    async def pin(self, training_id: str, number: int, now: float | None) -> None:
        """Pin a version, so that the training's retention does not remove it; None unpins it."""
        await self._connection.execute(update(model_versions).where(_of(training_id, [number])).values(pinned_at=now))

    async def _newest(self, query: Select[Any], missing: NotFound) -> ModelVersion:
        row = (
            (await self._connection.execute(query.order_by(model_versions.c.round.desc()).limit(1))).mappings().first()
        )
        if row is None:
            raise missing
        return ModelVersion(**row)

    async def _measured(self, query: Select[Any], limit: float = math.inf) -> Part[MeasuredVersion]:
        return await read(
            self._connection,
            query,
            _measured,
            lambda row: model_versions.c.round < row.round,
            limit=limit,
            many=NARROW,
        )


def _measured(row: Row[Any]) -> MeasuredVersion:
    version = ModelVersion(**{name: getattr(row, name) for name in ModelVersion.__slots__})
    return MeasuredVersion(version, row.accuracy, row.goal_value)


def _of(training_id: str, numbers: Collection[int]) -> ColumnElement[bool]:
    """A training's versions of some rounds."""
    return (model_versions.c.training_id == training_id) & model_versions.c.round.in_(numbers)


def _with_measurements(training_id: str) -> Select[Any]:
    """A training's versions, newest first, with what their rounds measured."""
    of_round = (rounds.c.training_id == model_versions.c.training_id) & (rounds.c.number == model_versions.c.round)
    return (
        select(model_versions, rounds.c.average_accuracy.label("accuracy"), rounds.c.goal_value)
        .join_from(model_versions, rounds, of_round, isouter=True)
        .where(model_versions.c.training_id == training_id)
        .order_by(model_versions.c.round.desc())
    )
