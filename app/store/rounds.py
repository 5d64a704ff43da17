"""Store rounds and their participations, which evaluations are too, as rows."""

import asyncio
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Integer, Row, bindparam, func, insert, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.domain.rounds import ENDED, OUTSTANDING, Participation, Round, RoundStatus
from app.domain.trainings import TrainingStatus
from app.store.carried import OPEN_CARRIED
from app.store.many import ManyRows
from app.store.reading import Part, Walk, read
from app.store.round_rows import participation_of, round_of, row_of, row_of_part, with_participations
from app.store.tables import participations, rounds, trainings
from tcsfeel.wire.tasks import TaskKind

WRITTEN = 500  # participations that are written at once: some 10 ms of the event loop
TOGETHER = 50  # rounds of a list whose participations are read together

_KEY = {"training_id", "number"}
_KEY_OF_PART = ("of_training", "of_round", "of_kind")
_COST = ("attempts", "bytes_sent", "bytes_received")

_THIS = (rounds.c.training_id == bindparam("of_training")) & (rounds.c.number == bindparam("of_round"))
_ADD = insert(rounds)
_PUT = update(rounds).where(_THIS)
_GET = select(rounds).where(_THIS)
_STANDING = (
    select(rounds.c.status, trainings.c.status, trainings.c.stop_after)
    .join_from(rounds, trainings, rounds.c.training_id == trainings.c.id)
    .where(_THIS)
)
_NEWEST = (
    select(rounds).where(rounds.c.training_id == bindparam("of_training")).order_by(rounds.c.number.desc()).limit(1)
)
_PREVIOUS = _NEWEST.where(rounds.c.number < bindparam("of_round"), rounds.c.status == "completed")
_COMPLETED = (
    select(func.count())
    .select_from(rounds)
    .where(rounds.c.training_id == bindparam("of_training"), rounds.c.status == "completed")
)

_PART = (participations.c.training_id == bindparam("of_training")) & (participations.c.round == bindparam("of_round"))
_PART_OF_KIND = _PART & (participations.c.kind == bindparam("of_kind"))
_OUTSTANDING = participations.c.status.in_(OUTSTANDING)
_RECEIVED = participations.c.status == "received"
_THOSE = participations.c.client_id.in_(bindparam("whose", expanding=True))
_ONE = participations.c.client_id == bindparam("whom")
_ADD_PARTS = ManyRows(insert(participations).inline(), participations.c.keys())
_FREE = (
    select(participations.c.client_id)
    .where(_PART_OF_KIND, _THOSE, _OUTSTANDING)
    .order_by(participations.c.client_id)
    .with_for_update()
)
_SOME_PARTS = select(participations).where(_PART_OF_KIND, _THOSE).order_by(participations.c.client_id).with_for_update()
_CHANGE_PART = update(participations).where(_PART_OF_KIND, _ONE)
_END_PARTS = ManyRows(_CHANGE_PART, ["whom", *_KEY_OF_PART, *(set(Participation.__slots__) - {"client_id"})])
_SELECTED = select(participations.c.client_id).where(_PART_OF_KIND).order_by(participations.c.client_id)
_WAITED_FOR = (
    select(participations)
    .where(_PART, _OUTSTANDING)
    .order_by(participations.c.client_id)
    .limit(bindparam("most", type_=Integer))
)
_COUNT_RECEIVED = select(func.count()).select_from(participations).where(_PART_OF_KIND, _RECEIVED)
_HAND_OVER = update(participations).where(_PART, participations.c.status == "pending").values(status="training")
_TRAINING = (
    select(participations.c.client_id)
    .join_from(participations, rounds)
    .where(_OUTSTANDING, participations.c.kind == "fit", rounds.c.status.not_in(ENDED))
)
_CARRYING = select(participations.c.client_id).where(OPEN_CARRIED)
_ELSEWHERE = participations.c.training_id != bindparam("of_training")
_BUSY = union_all(_TRAINING, _CARRYING)
_BUSY_ELSEWHERE = union_all(_TRAINING.where(_ELSEWHERE), _CARRYING.where(_ELSEWHERE))


@dataclass(frozen=True, slots=True)
class Standing:
    """The progress of a round: its status, its training's status, and the round after which the training pauses."""

    status: RoundStatus
    training_status: TrainingStatus
    stop_after: int | None


class RoundRepository:
    """Rounds with their participations, in the order in which selection ranked them.

    Evaluations are participations of their own `kind`. Where a method has no such argument, it means both kinds.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, round_: Round) -> None:
        """Add a round without its participations, which are added once it is planned."""
        await self._connection.execute(_ADD, row_of(round_))

    async def put(self, round_: Round) -> None:
        """Write the round's own columns. Participations are written separately."""
        row = {name: column for name, column in row_of(round_).items() if name not in _KEY}
        await self._connection.execute(_PUT, _of(round_.training_id, round_.number) | row)

    async def add_participations(self, round_: Round) -> None:
        """Add a round's participations; their order is their rank."""
        await self._add_parts(round_, round_.participations)

    async def add_evaluations(self, round_: Round) -> None:
        """Add a round's evaluations; their order is their rank."""
        await self._add_parts(round_, round_.evaluations)

    async def _add_parts(self, round_: Round, parts: Iterable[Participation]) -> None:
        key = {"training_id": round_.training_id, "round": round_.number}
        ranked = enumerate(parts)
        while some := list(islice(ranked, WRITTEN)):
            rows = [{**key, "rank": rank, **row_of_part(part)} for rank, part in some]
            await _ADD_PARTS.write(self._connection, rows)
            await asyncio.sleep(0)

    async def settle(
        self, training_id: str, number: int, settled: Collection[Participation], kind: TaskKind = "fit"
    ) -> dict[str, Participation]:
        """Write participations of a kind whose stored status is not final yet, the first of each client.

        Returns them by client. Their rows are locked until the transaction ends.
        """
        this = _of(training_id, number, kind)
        wanted = {"whose": [part.client_id for part in settled]}
        free = set((await self._connection.execute(_FREE, this | wanted)).scalars())
        written = {part.client_id: part for part in reversed(list(settled)) if part.client_id in free}
        if written:
            rows = [this | {"whom": row.pop("client_id"), **row} for row in map(row_of_part, written.values())]
            await _END_PARTS.write(self._connection, rows)
        return written

    async def reject(self, training_id: str, number: int, reasons: Mapping[str, str]) -> list[str]:
        """Mark received updates of a round as rejected. Returns the clients whose update was still received."""
        this = _of(training_id, number, "fit")
        query = _SELECTED.where(_RECEIVED, _THOSE).with_for_update()
        found = list((await self._connection.execute(query, this | {"whose": list(reasons)})).scalars())
        if found:
            rows = [this | {"whom": whom, "status": "rejected", "reason": reasons[whom]} for whom in found]
            await self._connection.execute(_CHANGE_PART.where(_RECEIVED), rows)
        return found

    async def weigh(self, round_: Round) -> None:
        """Write the weights that the updates of a round have in its mean."""
        this = _of(round_.training_id, round_.number, "fit")
        weights = [(part.client_id, part.weight) for part in round_.participations if part.weight is not None]
        if weights:
            await self._connection.execute(_CHANGE_PART, [this | {"whom": whom, "weight": w} for whom, w in weights])

    async def some_participations(
        self, training_id: str, number: int, client_ids: Collection[str], kind: TaskKind = "fit"
    ) -> list[Participation]:
        """Read the participations of some clients in a round, and lock them until the transaction ends."""
        wanted = _of(training_id, number, kind) | {"whose": list(client_ids)}
        return [participation_of(row) for row in await self._connection.execute(_SOME_PARTS, wanted)]

    async def charge(
        self, training_id: str, number: int, charged: Collection[Participation], kind: TaskKind = "fit"
    ) -> None:
        """Write how often tasks were sent, and their bytes."""
        if not charged:
            return
        this = _of(training_id, number, kind)
        rows = [this | {"whom": part.client_id, **{name: getattr(part, name) for name in _COST}} for part in charged]
        await self._connection.execute(_CHANGE_PART, rows)

    async def add_bytes(self, training_id: str, number: int, added: int) -> None:
        """Add bytes to a round, besides those of its participations and evaluations."""
        total = rounds.c.communication_bytes + added
        statement = _PUT.values(communication_bytes=total)
        await self._connection.execute(statement, _of(training_id, number))

    async def outstanding(self, training_id: str, number: int, *, limit: int) -> list[Participation]:
        """Read at most `limit` participations of a round whose status is not final yet, by client."""
        wanted = _of(training_id, number) | {"most": limit}
        return [participation_of(row) for row in await self._connection.execute(_WAITED_FOR, wanted)]

    async def count_received(self, training_id: str, number: int) -> int:
        """Count the updates of a round that are received."""
        return int((await self._connection.execute(_COUNT_RECEIVED, _of(training_id, number, "fit"))).scalar_one())

    async def hand_over(self, training_id: str, number: int) -> None:
        """Move every pending participation of a round to training. From then on, its agent may know the task."""
        await self._connection.execute(_HAND_OVER, _of(training_id, number))

    async def get(self, training_id: str, number: int) -> Round:
        """Read a round. Raises `NotFound`."""
        row = await self._row(training_id, number)
        return (await with_participations(self._connection, training_id, [row], Walk()))[0]

    async def head(self, training_id: str, number: int) -> Round:
        """Read a round without its participations. Raises `NotFound`."""
        return round_of(await self._row(training_id, number))

    async def _row(self, training_id: str, number: int) -> Row[Any]:
        row = (await self._connection.execute(_GET, _of(training_id, number))).one_or_none()
        if row is None:
            raise NotFound(f"round {number} of training", training_id)
        return row

    async def standing(self, training_id: str, number: int) -> Standing:
        """Read the progress of a round, in one statement that reads little. Raises `NotFound`."""
        row = (await self._connection.execute(_STANDING, _of(training_id, number))).one_or_none()
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
        row = (await self._connection.execute(_NEWEST, {"of_training": training_id})).one_or_none()
        return None if row is None else round_of(row)

    async def previous(self, training_id: str, number: int) -> Round | None:
        """Read the last completed round before `number`."""
        row = (await self._connection.execute(_PREVIOUS, _of(training_id, number))).one_or_none()
        return None if row is None else round_of(row)

    async def count_completed(self, training_id: str) -> int:
        """Count the rounds of a training that completed."""
        return int((await self._connection.execute(_COMPLETED, {"of_training": training_id})).scalar_one())

    async def busy_clients(self, *, except_training: str | None = None) -> frozenset[str]:
        """Read the clients that train for a training, or carry a task of it. Those that only evaluate are not busy."""
        query, elsewhere = _BUSY, {}
        if except_training is not None:
            query, elsewhere = _BUSY_ELSEWHERE, {"of_training": except_training}
        return frozenset((await self._connection.execute(query, elsewhere)).scalars())


def _itself(row: Row[Any]) -> Row[Any]:
    return row


def _of(training_id: str, number: int, kind: TaskKind | None = None) -> dict[str, Any]:
    """The parameters of statements about one round, or about its participations of one kind."""
    this = {"of_training": training_id, "of_round": number}
    return this if kind is None else this | {"of_kind": kind}
