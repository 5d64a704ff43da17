"""Weigh the updates of a round before they are aggregated, and store the weights.

What is known of labels may change at any time: a client registers again, or another one joins. So the weights are
stored before anything is made of them. Whoever aggregates the round after a crash finds them, and makes the same bytes.
"""

from collections.abc import Mapping
from dataclasses import replace

from app.domain.rounds import Round
from app.domain.trainings import Training
from app.domain.weighing import discounted, weighed
from app.services.fleet.roster import LatestRoster, Roster
from app.services.rounds.owned import OwnedTransactions
from app.store.database import Database
from app.store.leases import Lease
from app.threads import in_thread


class Weighing:
    """Weighs updates for the owner of a training whose rule is `balanced`, or whose updates may be stale."""

    def __init__(self, db: Database, owned: OwnedTransactions, roster: LatestRoster) -> None:
        self._db = db
        self._owned = owned
        self._roster = roster

    async def weigh(self, lease: Lease, training: Training, round_: Round) -> Round:
        """Return the round with the weights of its updates, as it is if its rule needs none. Raises `Fenced`."""
        if round_.weighting is not None:
            return round_
        if training.config.aggregation == "balanced":
            async with self._db.read() as tx:
                roster = await self._roster.get(tx)
                sketches = await tx.sketches.means(training.id)
            found = await in_thread("aggregation", _weighed, training, round_, roster, sketches)
        elif (found := discounted(round_, training.config)) is round_:
            return round_
        async with self._owned.begin(lease) as tx:
            await tx.rounds.put(found)
            await tx.rounds.weigh(found)
        return found


def _weighed(training: Training, round_: Round, roster: Roster, sketches: Mapping[str, tuple[float, ...]]) -> Round:
    """Weigh by the labels of all clients that the training may select sooner or later."""
    refusals = training.config.where.refusals(roster.clients)
    selected = frozenset(round_.selected_clients)
    fleet = [
        replace(one, sketch=sketches[one.client_id]) if one.client_id in sketches else one
        for one, refusal in zip(roster.candidates, refusals, strict=True)
        if refusal is None or one.client_id in selected
    ]
    return weighed(round_, training.config, fleet)
