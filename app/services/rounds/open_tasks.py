"""Look through the open carried tasks of a training before a round is planned, and end those that cannot go on.

That happens before clients are selected, so that a client whose task has ended is free for the round, also while the
round waits for clients.
"""

from collections.abc import Sequence

from app.domain.carrying import Carried, Leaving, divided
from app.domain.trainings import Training
from app.services.rounds.carrying import ENDED_TOGETHER, Carrying
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.participants import Participants
from app.store.leases import Lease
from app.store.transaction import Transaction


class OpenTasks:
    """Divides the open tasks of a training, and ends some of them for its owner."""

    def __init__(self, owned: OwnedTransactions, carrying: Carrying, participants: Participants) -> None:
        self._owned = owned
        self._carrying = carrying
        self._participants = participants

    async def divided(
        self, tx: Transaction, training: Training, lease: Lease | None
    ) -> tuple[list[Carried], list[Leaving]]:
        """Read the tasks that the next round takes in, and those that have to end before it is planned.

        Nothing is read if the owner with the `lease` knows that there are none.
        """
        policy = training.config.round_policy
        if lease is not None and policy.stragglers != "carry" and not self._owned.known(lease).may_have_carried:
            return [], []
        found = await tx.carried.open(training.id)
        clients = await tx.clients.some([one.part.client_id for one in found]) if found else []
        return divided(policy, found, {client.id: client for client in clients})

    async def end(self, lease: Lease, staying: Sequence[Carried], leaving: Sequence[Leaving]) -> None:
        """End the tasks that are `leaving`, and tell their agents. Raises `Fenced`."""
        for start in range(0, len(leaving), ENDED_TOGETHER):
            async with self._owned.begin(lease) as tx:
                ended = await self._carrying.end(tx, lease.training_id, leaving[start : start + ENDED_TOGETHER])
                clients = await tx.clients.some(ended)
            self._participants.call_off([(client, ended[client.id]) for client in clients])
        self._owned.known(lease).may_have_carried = bool(staying)
