"""End carried tasks of trainings that do not run, once their agents no longer keep them.

A training that is paused carries its tasks on when it is resumed, and until then their clients are busy. But agents
drop a task when its time is over, so from then on nothing would come of the wait.
"""

import structlog

from app.clock import Clock
from app.domain.carrying import EXPIRED, Leaving, has_expired
from app.domain.errors import NotFound
from app.services.rounds.early_ends import EarlyEnds
from app.services.rounds.ending import RoundEnding
from app.store.database import Database

TOGETHER = 200  # tasks that end in one transaction: some 50 ms

log = structlog.get_logger(__name__)


class CarriedRetention:
    """Looks after the open tasks of trainings without an owner. Those of running trainings are their owners' matter."""

    def __init__(self, db: Database, ending: RoundEnding, early_ends: EarlyEnds, clock: Clock) -> None:
        self._db = db
        self._ending = ending
        self._early_ends = early_ends
        self._clock = clock

    async def tick(self) -> None:
        """End what has expired, and tell the agents."""
        async with self._db.read() as tx:
            resting = await tx.carried.resting()
        for training_id in resting:
            while ended := await self._end(training_id):
                log.info("carried tasks have expired", training=training_id, clients=sorted(ended))
                await self._early_ends.call_off_carried(ended)

    async def _end(self, training_id: str) -> dict[str, str]:
        """End some of the tasks of a training. Returns their ids by client."""
        async with self._db.begin() as tx:
            try:
                training = await tx.trainings.get(training_id, for_update=True)
            except NotFound:
                return {}
            if training.status == "running":
                return {}
            expired = [
                Leaving(one, EXPIRED)
                for one in await tx.carried.open(training_id)
                if has_expired(one, training.config.in_round(one.round).round_policy, self._clock.now())
            ]
            return await self._ending.carrying.end(tx, training_id, expired[:TOGETHER])
