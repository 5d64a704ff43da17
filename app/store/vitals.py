"""What monitoring asks the database at each scrape: small numbers, found by indexes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import Row, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rounds import ENDED, RoundStatus
from app.domain.trainings import TrainingStatus
from app.store.tables import rounds, tasks, trainings, webhooks

MOST_RUNNING = 100  # trainings of which the rounds since the best one are read
_UNENDED = sorted(set(get_args(RoundStatus)) - ENDED)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of the newest model of a training that was measured; None where nothing was."""

    accuracy: float | None
    value: float | None


@dataclass(frozen=True, slots=True)
class Vitals:
    """The state of the database's contents.

    Attributes:
        trainings: how many trainings have each status.
        overdue_seconds: for how long the deadline of an open round has passed, of the round that is latest; 0 if none
            has. Rounds of trainings that do not run, and rounds that wait for clients, do not count.
        since_best: by training that runs, how many rounds have begun since the one that measured the best value.
        measured: what was measured of those trainings that were asked for and exist.
        offered: how many tasks wait in the mailbox for their agents to ask for them.
        offered_seconds: how long the one that was offered first has waited; 0 if there is none.
        failing_webhooks: how many webhooks are enabled and do not take events.
        size: bytes of the whole database.
    """

    trainings: Mapping[TrainingStatus, int]
    overdue_seconds: float
    since_best: Mapping[str, int]
    measured: Mapping[str, Measured]
    offered: int
    offered_seconds: float
    failing_webhooks: int
    size: int


class VitalsRepository:
    """Reads `Vitals`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def read(self, now: float, shown: Collection[str]) -> Vitals:
        """Read everything; `now` is in unix seconds, `shown` are the ids of the trainings whose measures are wanted."""
        waiting = (tasks.c.state == "offered") & (tasks.c.deadline_at > now)
        offered = await self._one(
            select(func.count().label("tasks"), func.min(tasks.c.offered_at).label("first")).where(waiting)
        )
        return Vitals(
            trainings=await self._by_status(),
            overdue_seconds=await self._overdue(now),
            since_best=await self._since_best(),
            measured=await self._measured(shown),
            offered=offered.tasks,
            offered_seconds=0.0 if offered.first is None else max(0.0, now - offered.first),
            failing_webhooks=await self._failing_webhooks(),
            size=await self._size(),
        )

    async def _by_status(self) -> Mapping[TrainingStatus, int]:
        query = select(trainings.c.status, func.count().label("number")).group_by(trainings.c.status)
        return {row.status: row.number for row in await self._connection.execute(query)}

    async def _overdue(self, now: float) -> float:
        query = (
            select(func.min(rounds.c.deadline_at))
            .join(trainings, trainings.c.id == rounds.c.training_id)
            .where(rounds.c.status.in_(_UNENDED), rounds.c.waiting_since.is_(None), trainings.c.status == "running")
        )
        earliest = (await self._connection.execute(query)).scalar()
        return 0.0 if earliest is None else max(0.0, now - earliest)

    async def _since_best(self) -> Mapping[str, int]:
        columns = trainings.c
        query = (
            select(columns.id, (columns.current_round - columns.best_round).label("since"))
            .where(columns.status == "running", columns.best_round.is_not(None))
            .order_by(columns.id)
            .limit(MOST_RUNNING)
        )
        return {row.id: row.since for row in await self._connection.execute(query)}

    async def _measured(self, shown: Collection[str]) -> Mapping[str, Measured]:
        if not shown:
            return {}
        columns = trainings.c
        query = select(columns.id, columns.accuracy, columns.goal_value).where(columns.id.in_(sorted(shown)))
        return {row.id: Measured(row.accuracy, row.goal_value) for row in await self._connection.execute(query)}

    async def _failing_webhooks(self) -> int:
        failing = webhooks.c.enabled & webhooks.c.failing_since.is_not(None)
        return await self._number(select(func.count()).select_from(webhooks).where(failing))

    async def _size(self) -> int:
        if self._connection.dialect.name == "postgresql":
            return await self._number(select(func.pg_database_size(func.current_database())))
        return await self._number(text("PRAGMA page_count")) * await self._number(text("PRAGMA page_size"))

    async def _number(self, query: Any) -> int:
        return int((await self._one(query))[0])

    async def _one(self, query: Any) -> Row[Any]:
        return (await self._connection.execute(query)).one()
