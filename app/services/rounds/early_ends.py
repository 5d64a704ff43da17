"""Rounds that end before their time, or leave the process that drove them: what is owed to agents, files and figures.

Three may end a round early: its owner, where trouble of the server's own keeps it from going on, and a user who cancels
its training, while it is driven or while it rests. Agents are told only what can no longer be taken back, and an owner
tells them once it has stopped to ask for their results.
"""

import contextlib
from dataclasses import replace

from app.domain.rounds import Round
from app.domain.trainings import Training
from app.services.rounds.costs import Costs
from app.services.rounds.files import RoundFiles
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.participants import Participants
from app.services.rounds.planning import Planner
from app.store.database import Database
from app.store.leases import Lease
from app.threads import in_thread


class EarlyEnds:
    """Gives rounds up, and calls off what agents still do for them."""

    def __init__(
        self,
        *,
        db: Database,
        planner: Planner,
        participants: Participants,
        files: RoundFiles,
        ledger: RoundLedger,
        costs: Costs,
    ) -> None:
        self._db = db
        self._planner = planner
        self._participants = participants
        self._files = files
        self._ledger = ledger
        self._costs = costs

    async def give_up(self, lease: Lease, value: Round, reason: str) -> Round:
        """End a round that cannot go on for trouble of the server's own; a model that it has committed stays."""
        async with self._db.read() as tx:
            value = await tx.rounds.get(value.training_id, value.number)
        spent = self._costs.take(value)
        if value.status == "evaluating":
            value = replace(value, communication_bytes=value.communication_bytes + spent.evaluation_bytes())
            value = await self._ledger.measured(lease, value, None, reason=reason)
        else:
            value = await self._ledger.abandoned(lease, value, reason, spent.fit, at_fault=False)
        with contextlib.suppress(OSError):  # what is left of its spool is swept later
            await self.call_off(value)
        return value

    async def leave(self, training: Training, value: Round) -> None:
        """Store what the tasks of a round have cost that was taken from this process; call it off if it has ended."""
        await self._costs.store(value)
        if training.status == "cancelled":
            await self.call_off(value)

    async def call_off(self, value: Round) -> None:
        """Tell the agents of a round that was ended early that its tasks are no longer wanted."""
        async with self._db.read() as tx:
            training = await tx.trainings.get(value.training_id)
            clients = await tx.clients.some(await tx.rounds.selected(value.training_id, value.number))
        self._participants.forget(clients, value, "fit")
        if value.model is not None:
            async with self._db.read() as tx:
                evaluators = await self._planner.evaluators(tx, training, value.seed)
            self._participants.forget(evaluators, value, "evaluate")
        await in_thread("files", self._files.spool(value).clear)
