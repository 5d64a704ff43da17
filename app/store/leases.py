"""The lease that decides which server drives a training, with a fencing token, on the database's clock (ADR 0001).

A claim raises the training's `fence`. Every write of an owner runs in a transaction whose first statement is `guard`,
which holds the training's row and proves that the fence is still the owner's. An owner that stalled past its lease
finds a higher fence there, is `Fenced`, and its transaction rolls back.

A clock can be set back. A lease that ends later than any lease taken now would end counts as over.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from app.domain.instants import TOLERANCE_SECONDS
from app.domain.trainings import Training
from app.store.tables import trainings
from app.store.trainings import training_of

RENEWED_TOGETHER = 1000  # in a statement

_OURS = (trainings.c.id == bindparam("of_training")) & (trainings.c.fence == bindparam("our_fence"))
_GUARD = update(trainings).where(_OURS).values(fence=trainings.c.fence).returning(trainings)
_RELEASE = update(trainings).where(_OURS).values(owner=None, lease_until=0.0)
_FENCE = select(trainings.c.fence).where(trainings.c.id == bindparam("of_training"))
_FENCES = select(trainings.c.id, trainings.c.fence).where(trainings.c.id.in_(bindparam("of_trainings", expanding=True)))


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Lease:
    """The right to write for one training, until another server claims it with a higher fence."""

    training_id: str
    owner: str
    fence: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease that was just taken, and the previous owner (None if there was none, or if it had released the lease)."""

    lease: Lease
    previous_owner: str | None


class Fenced(Exception):
    """Another server has the lease now. Stop, and write nothing."""


class LeaseRepository:
    """The leases, which are stored in the rows of their trainings. `clock` is the database's time in unix seconds."""

    def __init__(self, connection: AsyncConnection, clock: ColumnElement[float]) -> None:
        self._connection = connection
        self._clock = clock

    @property
    def _over(self) -> ColumnElement[bool]:
        return is_over(trainings.c.lease_until, trainings.c.lease_seconds, self._clock)

    @property
    def _free(self) -> ColumnElement[bool]:
        return (trainings.c.status == "running") & self._over

    async def claimable(self) -> bool:
        """Tell whether `claim` would find a training now."""
        return bool((await self._connection.execute(select(exists().where(self._free)))).scalar())

    async def claim(self, owner: str, seconds: float) -> Claim | None:
        """Take the lease of one running training whose lease is over. Returns None if there is none."""
        free = (
            select(trainings.c.id, trainings.c.owner)
            .where(self._free)
            .order_by(trainings.c.lease_until, trainings.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = (await self._connection.execute(free)).one_or_none()
        if row is None:
            return None
        taken = (
            update(trainings)
            .where(trainings.c.id == row.id)
            .values(owner=owner, fence=trainings.c.fence + 1, lease_until=self._clock + seconds, lease_seconds=seconds)
            .returning(trainings.c.fence)
        )
        return Claim(Lease(row.id, owner, (await self._connection.execute(taken)).scalar_one()), row.owner)

    async def holds(self, lease: Lease) -> bool:
        """Tell whether the lease still has the current fence. This only reads, so it does not protect a later write."""
        found = await self._connection.execute(_FENCE, {"of_training": lease.training_id})
        return found.scalar() == lease.fence

    async def held(self, leases: Collection[Lease]) -> set[Lease]:
        """Return those of the leases that still have the current fence, as `holds` does for one."""
        wanted = {"of_trainings": [lease.training_id for lease in leases]}
        fences = {row.id: row.fence for row in await self._connection.execute(_FENCES, wanted)}
        return {lease for lease in leases if fences.get(lease.training_id) == lease.fence}

    async def revoke(self, training_id: str) -> bool:
        """Fence the owner of the training, so that it cannot write anything any more.

        Returns whether there was an owner whose lease was not over.
        """
        held = select(trainings.c.id).where(trainings.c.id == training_id, trainings.c.owner.is_not(None), ~self._over)
        had_an_owner = (await self._connection.execute(held)).scalar() is not None
        values = {"owner": None, "lease_until": 0.0, "fence": trainings.c.fence + 1}
        await self._connection.execute(update(trainings).where(trainings.c.id == training_id).values(values))
        return had_an_owner

    async def renew(self, leases: Collection[Lease], seconds: float) -> set[Lease]:
        """Renew the leases that are still valid, and return them. Rows that another transaction locks are skipped.

        Waiting for one of those rows would prevent the renewal of all others. A lease that was given back is not valid,
        although its fence is still the current one.
        """
        columns = trainings.c
        found: set[Lease] = set()
        wanted = list(leases)
        for start in range(0, len(wanted), RENEWED_TOGETHER):
            some = {(lease.training_id, lease.fence): lease for lease in wanted[start : start + RENEWED_TOGETHER]}
            free = (
                select(columns.id, columns.fence)
                .where(columns.id.in_([training_id for training_id, _ in some]), columns.owner.is_not(None))
                .with_for_update(skip_locked=True)
            )
            ours = [some[key] for row in await self._connection.execute(free) if (key := (row.id, row.fence)) in some]
            whose = columns.id.in_([lease.training_id for lease in ours])
            values = {"lease_until": self._clock + seconds, "lease_seconds": seconds}
            await self._connection.execute(update(trainings).where(whose).values(values))
            found.update(ours)
        return found

    async def guard(self, lease: Lease) -> Training:
        """Lock the training's row, check the ownership, and return the training. Raises `Fenced`."""
        row = (await self._connection.execute(_GUARD, _ours(lease))).one_or_none()
        if row is None:
            raise Fenced(lease.training_id)
        return training_of(row)

    async def release(self, lease: Lease) -> None:
        """Give the lease back, so that another server can take over at once. Raises `Fenced`."""
        if (await self._connection.execute(_RELEASE, _ours(lease))).rowcount != 1:
            raise Fenced(lease.training_id)


def is_over(
    until: ColumnElement[float], seconds: ColumnElement[float] | float, clock: ColumnElement[float]
) -> ColumnElement[bool]:
    """Return the condition that a lease for `seconds` has ended. `until` and `clock` are the database's time.

    A lease that began in the future has ended, too: the clock was set back since.
    """
    return (until < clock) | (until - seconds > clock + TOLERANCE_SECONDS)


def _ours(lease: Lease) -> dict[str, Any]:
    return {"of_training": lease.training_id, "our_fence": lease.fence}
