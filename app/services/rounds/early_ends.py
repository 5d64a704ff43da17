"""End rounds early, and finish the work for rounds that leave this process: agents, files and figures.

There are three cases. The owner of a round ends it if a problem of the server stops it. A user ends it by cancelling
its training, while a server drives the training or while none does. Agents are told only about endings that are final,
and an owner tells them after it has stopped asking for their results.
"""

import contextlib
from collections.abc import Mapping

from app.domain.clients import Client
from app.domain.rounds import Round
from app.domain.trainings import Training
from app.services.rounds.costs import Costs
from app.services.rounds.files import RoundFiles
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.participants import Participants
from app.services.rounds.past import PastRounds
from app.store.database import Database
from app.store.leases import Lease
from app.threads import in_thread
from tcsfeel.wire.tasks import TaskKind


class EarlyEnds:
    """Gives rounds up, and cancels the tasks that agents still have for them."""

    def __init__(
        self,
        *,
        db: Database,
        participants: Participants,
        files: RoundFiles,
        ledger: RoundLedger,
        costs: Costs,
        past: PastRounds,
    ) -> None:
        self._db = db
        self._participants = participants
        self._files = files
        self._ledger = ledger
        self._costs = costs
        self._past = past

    async def give_up(self, lease: Lease, round_: Round, reason: str) -> Round:
        """End a round that cannot go on because of a problem of the server. A model that it has committed stays.

        Its stragglers' tasks are not carried: one of them may be the problem.
        """
        async with self._db.read() as tx:
            round_ = await tx.rounds.get(round_.training_id, round_.number)
        spent = self._costs.take(round_)
        if round_.status == "evaluating":
            round_ = await self._ledger.evaluated(lease, round_, spent.evaluate, reason=reason, at_fault=False)
            round_ = await self._ledger.measured(lease, round_, reason=reason)
        else:
            round_ = await self._ledger.abandoned(lease, round_, reason, spent.fit, at_fault=False, carry=False)
        with contextlib.suppress(OSError):  # what is left of its spool is swept later
            await self.call_off(round_)
        await self.call_off_ended(lease)
        return round_

    async def leave(self, training: Training, round_: Round) -> None:
        """Store the task costs of a round that was taken from this process, and cancel its tasks if it has ended.

        What only its owner needs of the training is forgotten.
        """
        self._past.forget(training.id)
        await self._costs.store(round_)
        if training.status == "cancelled":
            await self.call_off(round_)

    async def call_off(self, round_: Round) -> None:
        """Tell the agents of a round that was ended early that its tasks are no longer wanted."""
        async with self._db.read() as tx:
            round_ = await tx.rounds.get(round_.training_id, round_.number)
            asked: dict[TaskKind, list[Client]] = {
                "fit": await tx.clients.some(
                    [part.client_id for part in round_.participations if part.status != "carried"]
                ),
                "evaluate": await tx.clients.some([one.client_id for one in round_.evaluations]),
            }
        for kind, clients in asked.items():
            self._participants.forget(clients, round_, kind)
        await in_thread("files", self._files.empty_spool, round_.training_id, round_.number)

    async def call_off_ended(self, lease: Lease) -> None:
        """Tell the agents of carried tasks that the owner has ended without a round that they are no longer wanted."""
        known = self._ledger.known(lease)
        tasks, known.called_off = known.called_off, {}
        await self.call_off_carried(tasks)

    async def call_off_carried(self, tasks: Mapping[str, str]) -> None:
        """Tell the agents of carried tasks, whose ids are by client, that they are no longer wanted."""
        if not tasks:
            return
        async with self._db.read() as tx:
            clients = await tx.clients.some(tasks)
        self._participants.call_off([(client, tasks[client.id]) for client in clients])
