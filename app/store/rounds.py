"""Store rounds and their participations as rows."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.rounds import ENDED, OUTSTANDING, Participation, Round, RoundStatus
from app.domain.selections import PastSelection
from app.domain.trainings import TrainingStatus
from app.store.reading import NARROW, Part, Walk, read
from app.store.round_rows import participation_of, round_of, row_of, with_participations
from app.store.tables import participations, rounds, trainings

WRITTEN = 500  # participations that are written at once: some 10 ms of the event loop
TOGETHER = 50  # rounds of a list whose participations are read together

_KEY = {"training_id", "number"}
_COST = ("attempts", "bytes_sent", "bytes_received")


@dataclass(frozen=True, slots=True)
class Standing:
    """The progress of a round: its status, its training's status, and the round after which the training pauses."""

    status: RoundStatus
    training_status: TrainingStatus
    stop_after: int | None


class RoundRepository:
    """Rounds with their participations, in the order in which selection ranked them."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, round_: Round) -> None:
        """Add a round without its participations, which are added once it is planned."""
        await self._connection.execute(insert(rounds).values(row_of(round_)))

    async def put(self, round_: Round) -> None:
        """Write the round's own columns. Participations are written separately."""
        row = {name: column for name, column in row_of(round_).items() if name not in _KEY}
        await self._connection.execute(update(rounds).where(_is(round_.training_id, round_.number)).values(row))

    async def add_participations(self, round_: Round) -> None:
        """Add a round's participations; their order is their rank."""
        ranked = enumerate(round_.participations)
        while some := list(islice(ranked, WRITTEN)):
            rows = [
                {"training_id": round_.training_id, "round": round_.number, "rank": rank, **asdict(participation)}
                for rank, participation in some
            ]
            await self._connection.execute(insert(participations), rows)
            await asyncio.sleep(0)

    async def settle(
        self, training_id: str, number: int, settled: Collection[Participation]
    ) -> dict[str, Participation]:
        """Write participations whose stored status is not final yet, the first of each client. Returns them by client.

        Their rows are locked until the transaction ends.
        """
        of_round = _part_of(training_id, number)
        wanted = participations.c.client_id.in_([part.client_id for part in settled])
        outstanding = (
            select(participations.c.client_id)
            .where(of_round, wanted, participations.c.status.in_(OUTSTANDING))
            .order_by(participations.c.client_id)
            .with_for_update()
        )
        free = set((await self._connection.execute(outstanding)).scalars())
        written = {part.client_id: part for part in reversed(list(settled)) if part.client_id in free}
        if written:
            statement = update(participations).where(of_round, participations.c.client_id == bindparam("whose"))
            rows = [{"whose": row.pop("client_id"), **row} for row in map(asdict, written.values())]
            await self._connection.execute(statement, rows)
        return written

    async def reject(self, training_id: str, number: int, reasons: Mapping[str, str]) -> list[str]:
        """Mark received updates of a round as rejected. Returns the clients whose update was still received."""
        columns = participations.c
        received = _part_of(training_id, number) & (columns.status == "received")
        query = select(columns.client_id).where(received, columns.client_id.in_(reasons)).order_by(columns.client_id)
        found = list((await self._connection.execute(query.with_for_update())).scalars())
        if found:
            statement = update(participations).where(received, columns.client_id == bindparam("whose"))
            rows = [{"whose": client_id, "status": "rejected", "reason": reasons[client_id]} for client_id in found]
            await self._connection.execute(statement, rows)
        return found

    async def some_participations(
        self, training_id: str, number: int, client_ids: Collection[str]
    ) -> list[Participation]:
        """Read the participations of some clients in a round, and lock them until the transaction ends."""
        query = select(participations).where(_part_of(training_id, number), participations.c.client_id.in_(client_ids))
        ordered = query.order_by(participations.c.client_id).with_for_update()
        return [participation_of(row) for row in await self._connection.execute(ordered)]

    async def charge(self, training_id: str, number: int, charged: Collection[Participation]) -> None:
        """Write how often tasks were sent, and their bytes."""
        if not charged:
            return
        statement = update(participations).where(
            _part_of(training_id, number), participations.c.client_id == bindparam("whose")
        )
        rows = [{"whose": part.client_id, **{name: getattr(part, name) for name in _COST}} for part in charged]
        await self._connection.execute(statement, rows)

    async def add_bytes(self, training_id: str, number: int, added: int) -> None:
        """Add bytes to a round, besides those of its participations and evaluations."""
        total = rounds.c.communication_bytes + added
        await self._connection.execute(update(rounds).where(_is(training_id, number)).values(communication_bytes=total))

    async def selected(self, training_id: str, number: int) -> list[str]:
        """Read the clients of a round, in the order of their ids."""
        columns = participations.c
        query = select(columns.client_id).where(_part_of(training_id, number)).order_by(columns.client_id)
        return list((await self._connection.execute(query)).scalars())

    async def outstanding(self, training_id: str, number: int, *, limit: int) -> list[Participation]:
        """Read at most `limit` participations of a round whose status is not final yet, by client."""
        columns = participations.c
        waited_for = _part_of(training_id, number) & columns.status.in_(OUTSTANDING)
        query = select(participations).where(waited_for).order_by(columns.client_id).limit(limit)
        return [participation_of(row) for row in await self._connection.execute(query)]

    async def count_received(self, training_id: str, number: int) -> int:
        """Count the updates of a round that are received."""
        received = _part_of(training_id, number) & (participations.c.status == "received")
        query = select(func.count()).select_from(participations).where(received)
        return int((await self._connection.execute(query)).scalar_one())

    async def received_by_client(self, training_id: str, up_to: int) -> dict[str, int]:
        """Count each client's received updates in the rounds of a training up to a round.

        Clients with none are left out.
        """
        columns = participations.c
        received = (columns.training_id == training_id) & (columns.round <= up_to) & (columns.status == "received")
        query = select(columns.client_id, func.count()).where(received).group_by(columns.client_id)
        return {row[0]: row[1] for row in await self._connection.execute(query)}

    async def hand_over(self, training_id: str, number: int) -> None:
        """Move every pending participation of a round to training. From then on, its agent may know the task."""
        pending = _part_of(training_id, number) & (participations.c.status == "pending")
        await self._connection.execute(update(participations).where(pending).values(status="training"))

    async def get(self, training_id: str, number: int) -> Round:
        """Read a round. Raises `NotFound`."""
        row = (await self._connection.execute(select(rounds).where(_is(training_id, number)))).one_or_none()
        if row is None:
            raise NotFound(f"round {number} of training", training_id)
        return (await with_participations(self._connection, training_id, [row], Walk()))[0]

    async def standing(self, training_id: str, number: int) -> Standing:
        """Read the progress of a round, in one statement that reads little. Raises `NotFound`."""
        query = (
            select(rounds.c.status, trainings.c.status, trainings.c.stop_after)
            .join_from(rounds, trainings, rounds.c.training_id == trainings.c.id)
            .where(_is(training_id, number))
        )
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound(f"round {number} of training", training_id)
        return Standing(*row)

    async def page(
        self, training_id: str, *, limit: int, before: int | None, most_bytes: float = math.inf
    ) -> Part[Round]:
        """Read at most `limit` rounds with numbers below `before`, newest first.

        The list ends with the round with which it has about `most_bytes` as JSON.
        """
        query = select(rounds).where(rounds.c.training_id == training_id).order_by(rounds.c.number.desc())
        found: list[Round] = []
        walk = Walk()
        while True:
            part = await read(
                self._connection,
                query if before is None else query.where(rounds.c.number < before),
                _itself,
                lambda row: rounds.c.number < row.number,
                limit=min(TOGETHER, limit - len(found)),
                ends=lambda _: walk.weight >= most_bytes,
                walk=walk,
            )
            whole = await with_participations(self._connection, training_id, part.items, walk, most_bytes)
            found += whole
            more = part.more or len(whole) < len(part.items)
            if not more or len(found) == limit or walk.weight >= most_bytes:
                return Part(found, more)
            before = found[-1].number

    async def newest(self, training_id: str) -> Round | None:
        """Read the last round of a training, without its participations."""
        query = select(rounds).where(rounds.c.training_id == training_id).order_by(rounds.c.number.desc()).limit(1)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else round_of(row, ())

    async def previous(self, training_id: str, number: int) -> Round | None:
        """Read the last completed round before `number`."""
        query = (
            select(rounds)
            .where(rounds.c.training_id == training_id, rounds.c.number < number, rounds.c.status == "completed")
            .order_by(rounds.c.number.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else round_of(row, ())

    async def count_completed(self, training_id: str) -> int:
        """Count the rounds of a training that completed."""
        completed = (rounds.c.training_id == training_id) & (rounds.c.status == "completed")
        query = select(func.count()).select_from(rounds).where(completed)
        return int((await self._connection.execute(query)).scalar_one())

    async def selections(self, training_id: str, before: int) -> list[PastSelection]:
        """Read who took part in the rounds before `before`, oldest first. Rounds without selected clients are left out.

        The two tables are read one after the other, because for a join SQLite reads all participations again for each
        round.
        """
        begun = (
            select(rounds.c.number, rounds.c.started_at)
            .where(rounds.c.training_id == training_id, rounds.c.number < before)
            .order_by(rounds.c.number)
        )
        starts = [(number, started_at) for number, started_at in await self._connection.execute(begun)]
        columns = participations.c
        parts = (
            select(columns.round, columns.client_id, columns.status, columns.loss)
            .where(columns.training_id == training_id, columns.round < before)
            .order_by(columns.round, columns.client_id)
        )
        selected: dict[int, set[str]] = defaultdict(set)
        received: dict[int, set[str]] = defaultdict(set)
        losses: dict[int, dict[str, float]] = defaultdict(dict)

        def keep(row: Row[Any]) -> None:
            selected[row.round].add(row.client_id)
            if row.status == "received":
                received[row.round].add(row.client_id)
                if row.loss is not None:
                    losses[row.round][row.client_id] = row.loss

        await read(
            self._connection,
            parts,
            keep,
            lambda row: tuple_(columns.round, columns.client_id) > tuple_(row.round, row.client_id),
            many=NARROW,
        )
        return [
            PastSelection(started_at, frozenset(selected[number]), frozenset(received[number]), losses[number])
            for number, started_at in starts
            if number in selected
        ]

    async def busy_clients(self, *, except_training: str | None = None) -> frozenset[str]:
        """Read the clients that have a task in flight for another training."""
        query = (
            select(participations.c.client_id)
            .join_from(participations, rounds)
            .where(participations.c.status.in_(OUTSTANDING), rounds.c.status.not_in(ENDED))
        )
        if except_training is not None:
            query = query.where(participations.c.training_id != except_training)
        return frozenset((await self._connection.execute(query)).scalars())


def _itself(row: Row[Any]) -> Row[Any]:
    return row


def _is(training_id: str, number: int) -> ColumnElement[bool]:
    return (rounds.c.training_id == training_id) & (rounds.c.number == number)


def _part_of(training_id: str, number: int) -> ColumnElement[bool]:
    return (participations.c.training_id == training_id) & (participations.c.round == number)
