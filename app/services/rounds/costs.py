"""Keep the costs of the tasks of open rounds until they are stored with the rounds.

The owner of a round stores the cost of each task when the task ends. If a pause or a cancellation takes the round from
its owner, some tasks have not ended, but they have costs too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.rounds import ENDED, Round
from app.domain.tasks import TaskRun
from app.services.rounds.phase import Phase
from app.store.database import Database
from app.store.transaction import Transaction
from tcsfeel.wire.tasks import TaskKind

CHARGED_TOGETHER = 200  # participations a transaction, so that none holds others up for long


@dataclass(frozen=True, slots=True)
class Spent:
    """The tasks of one round's training and of its evaluation, by client."""

    fit: Mapping[str, TaskRun] = field(default_factory=dict)
    evaluate: Mapping[str, TaskRun] = field(default_factory=dict)


class Costs:
    """Knows the tasks of the rounds that this process drives, and stores what they have cost."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._phases: dict[str, list[Phase]] = {}

    def begin(self, phase: Phase) -> None:
        """Note a phase, whose tasks begin now."""
        phases = self._phases.setdefault(phase.round_.training_id, [])
        phases[:] = [one for one in phases if one.round_.number == phase.round_.number] + [phase]

    def take(self, round_: Round) -> Spent:
        """Return the tasks of a round, and forget them."""
        phases = [one for one in self._phases.pop(round_.training_id, []) if one.round_.number == round_.number]
        fit, evaluate = (
            {client_id: run for phase in phases if phase.kind == kind for client_id, run in phase.runs.items()}
            for kind in ("fit", "evaluate")
        )
        return Spent(fit, evaluate)

    async def store(self, round_: Round) -> None:
        """Add what tasks have cost to a round whose training was paused or cancelled while this process drove it.

        The lease is gone by then, so this process may decide nothing about the round any more. If the training runs
        again, its next owner continues from the stored costs, and nothing may be added.
        """
        spent = self.take(round_)
        if await self._store(round_, spent.fit, "fit"):
            await self._store(round_, spent.evaluate, "evaluate")

    async def _store(self, round_: Round, runs: Mapping[str, TaskRun], kind: TaskKind) -> bool:
        """Add what the tasks of one kind have cost. Returns False if nothing more may be added to the round."""
        tasks = list(runs.items())
        for start in range(0, len(tasks), CHARGED_TOGETHER):
            async with self._db.begin() as tx:
                stored = await self._at_rest(tx, round_)
                if stored is None:
                    return False
                added = await charge(tx, round_, dict(tasks[start : start + CHARGED_TOGETHER]), kind)
                if stored.status in ENDED:  # otherwise its end will add its participations up
                    await tx.rounds.add_bytes(round_.training_id, round_.number, added)
        return True

    async def _at_rest(self, tx: Transaction, round_: Round) -> Round | None:
        """Lock a training, and return its round without participations, or None if it is driven again."""
        training = await tx.trainings.get(round_.training_id, for_update=True)
        newest = await tx.rounds.newest(round_.training_id)
        return (
            newest if training.status != "running" and newest is not None and newest.number == round_.number else None
        )


async def charge(tx: Transaction, round_: Round, runs: Mapping[str, TaskRun], kind: TaskKind = "fit") -> int:
    """Store the costs of tasks with the participations of a round. Returns the bytes that were not stored before."""
    before = await tx.rounds.some_participations(round_.training_id, round_.number, runs, kind)
    after = [runs[part.client_id].charged(part) for part in before]
    changed = [new for old, new in zip(before, after, strict=True) if new != old]
    await tx.rounds.charge(round_.training_id, round_.number, changed, kind)
    return sum(part.bytes_sent + part.bytes_received for part in after) - sum(
        part.bytes_sent + part.bytes_received for part in before
    )
