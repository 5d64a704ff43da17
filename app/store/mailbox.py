"""Tasks that agents ask for, as rows. Each change reads the row first, and holds it until the transaction ends."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.mailbox import MOST_TAKES, OPEN, WANTED, Delivery, MailedTask, MailState, next_state
from app.domain.rounds import Evidence
from app.store.availability import DatabaseUnavailable
from app.store.documents import value_of
from app.store.inserts import insert_missing
from app.store.tables import tasks
from app.store.uploads import UploadRepository

CHANNEL = "tcsfeel_tasks"
"""The channel on which Postgres tells other servers that a task has changed."""
MANY = 500  # ids in one statement
MOST_OPEN = 100_000  # that one look reads

_NAMES = tuple(field.name for field in fields(MailedTask))
_TAKABLE = tasks.c.state.in_(sorted(OPEN)) & (tasks.c.attempts <= MOST_TAKES) & (tasks.c.deadline_at > bindparam("now"))
_GLANCE = (  # with states that an index finds, since most rows are those of cancelled tasks
    select(tasks.c.id, tasks.c.client_id, tasks.c.state, _TAKABLE.label("takable"), tasks.c.moved_at)
    .where(tasks.c.state.in_(sorted(WANTED)))
    .limit(MOST_OPEN)
)


class Glance(NamedTuple):
    """The state of a task that was not cancelled, whether its agent may take it (again), and when its bytes moved."""

    id: str
    client_id: str
    state: MailState
    takable: bool
    moved_at: float | None = None


class MailboxRepository:
    """The tasks of agents that pull."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def glance(self, now: float) -> list[Glance]:
        """Read the states of all tasks that were not cancelled; `now` is in unix seconds.

        A task whose deadline has passed is among them, because its round may be prolonged.
        """
        rows = await self._connection.execute(_GLANCE, {"now": now})
        return [Glance(row.id, row.client_id, row.state, row.takable, row.moved_at) for row in rows]

    async def find(self, task_id: str, *, for_update: bool = False) -> MailedTask | None:
        """Read a task; None if there is none. `for_update` locks the row until the transaction ends."""
        query = select(tasks).where(tasks.c.id == task_id)
        row = (await self._connection.execute(query.with_for_update() if for_update else query)).one_or_none()
        return None if row is None else _task_of(row)

    async def offer(self, task: MailedTask) -> MailedTask:
        """Offer a task, unless it is open or delivered. Returns the task as it is stored then."""
        added = insert_missing(self._connection, tasks).values(_row_of(task))
        if (await self._connection.execute(added)).rowcount:
            await self.tell()
            return task
        known = await self.find(task.id, for_update=True)
        if known is None:
            raise DatabaseUnavailable(f"the task {task.id} was removed while it was offered")
        state = next_state(known.state, "offer")
        if known.state != "cancelled":
            kept = replace(known, deadline_at=task.deadline_at, traceparent=task.traceparent, state=state)
        else:
            kept = replace(task, bytes_sent=known.bytes_sent, state=state)
        await self._put(kept)
        return kept

    async def untaken(self, client_id: str, known: Collection[str], now: float) -> MailedTask | None:
        """Read the oldest task of a client that its agent may take and does not know, and that is not late."""
        columns = tasks.c
        query = select(tasks).where(columns.client_id == client_id, _TAKABLE, columns.id.not_in(known))
        oldest = query.order_by(columns.offered_at, columns.id).limit(1)
        row = (await self._connection.execute(oldest, {"now": now})).one_or_none()
        return None if row is None else _task_of(row)

    async def take(
        self, task: MailedTask, now: float, *, size: int, call: str | None, seconds: float, digest: str | None
    ) -> None:
        """Record that the agent of a task that is locked is sent `size` bytes, and what was signed for that.

        `seconds` are those that its body says are left, and `digest` is the SHA-256 of the body; None if the same
        body cannot be made again.
        """
        taken = replace(
            task,
            state=next_state(task.state, "take"),
            attempts=task.attempts + 1,
            bytes_sent=task.bytes_sent + size,
            taken_at=now if task.taken_at is None else task.taken_at,
            call=call,
            sent_seconds=seconds,
            sent_digest=digest,
        )
        await self._put(taken)

    async def move(self, task_id: str, now: float) -> None:
        """Record that bytes of a task have moved. Nobody is told, because nothing waits for that."""
        open_task = (tasks.c.id == task_id) & tasks.c.state.in_(sorted(OPEN))
        await self._connection.execute(update(tasks).where(open_task).values(moved_at=now))

    async def offered(self, task_ids: Collection[str]) -> set[str]:
        """Return which of some tasks, `MANY` at most, wait in the mailbox and were never taken."""
        query = select(tasks.c.id).where(tasks.c.id.in_(task_ids), tasks.c.state == "offered")
        return set((await self._connection.execute(query)).scalars())

    async def deliver(self, task: MailedTask, delivery: Delivery, now: float) -> None:
        """Record what the agent of a task that is locked has delivered. Raises `IllegalTransition`."""
        state = next_state(task.state, delivery.event)
        said = {field.name: getattr(delivery, field.name) for field in fields(delivery)}
        await self._put(replace(task, state=state, delivered_at=now, **said))

    async def cancel(self, task_ids: Iterable[str]) -> set[str]:
        """Cancel tasks, and drop what has come in of their results. Returns the names of files that are not needed."""
        freed: set[str] = set()
        for task_id in sorted(task_ids):
            task = await self.find(task_id, for_update=True)
            if task is not None and task.state != "cancelled":
                freed |= task.files | await UploadRepository(self._connection).drop(task_id)
                await self._put(replace(task, state=next_state(task.state, "cancel"), model=None, result=None))
        return freed

    async def expired(self, before: float, limit: int) -> list[str]:
        """Return the ids of at most `limit` tasks whose deadline was before a given time (unix seconds)."""
        query = select(tasks.c.id).where(tasks.c.deadline_at < before).order_by(tasks.c.deadline_at).limit(limit)
        return list((await self._connection.execute(query)).scalars())

    async def remove(self, task_ids: Collection[str]) -> None:
        """Remove tasks that were cancelled."""
        gone = tasks.c.id.in_(task_ids) & (tasks.c.state == "cancelled")
        await self._connection.execute(delete(tasks).where(gone))

    async def tell(self) -> None:
        """Tell other servers on Postgres, when the transaction commits, that a task has changed."""
        if self._connection.dialect.name == "postgresql":
            await self._connection.execute(select(func.pg_notify(CHANNEL, "")))

    async def _put(self, task: MailedTask) -> None:
        await self._connection.execute(update(tasks).where(tasks.c.id == task.id).values(_row_of(task)))
        await self.tell()


def _row_of(task: MailedTask) -> Mapping[str, Any]:
    row = {name: getattr(task, name) for name in _NAMES}
    return row | {"evidence": None if task.evidence is None else asdict(task.evidence)}


def _task_of(row: Row[Any]) -> MailedTask:
    said = {name: getattr(row, name) for name in _NAMES}
    return MailedTask(**said | {"evidence": None if row.evidence is None else value_of(Evidence, row.evidence)})
