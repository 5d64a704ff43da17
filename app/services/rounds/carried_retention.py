"""End carried tasks of trainings that do not run, if nothing comes of them any more.

A training that is paused carries its tasks on when it is resumed, and until then their clients are busy. But agents
drop a task when its time is over, so from then on nothing would come of the wait. A training that has ended needs none
of its tasks. It has ended most of them, but not more than one transaction may.
"""

import structlog

from app.clock import Clock
from app.domain.carrying import EXPIRED, TRAINING_ENDED, Leaving, has_expired
from app.domain.errors import NotFound
from app.domain.trainings import STOPPED
from app.services.rounds.carrying import ENDED_TOGETHER
from app.services.rounds.early_ends import EarlyEnds
from app.services.rounds.ending import RoundEnding
from app.store.database import Database

log = structlog.get_logger(__name__)


class CarriedRetention:
    """Looks after the open tasks of trainings without an owner. Those of running trainings are their owners' matter."""

    def __init__(self, db: Database, ending: RoundEnding, early_ends: EarlyEnds, clock: Clock) -> None:
        self._db = db
        self._ending = ending
        self._early_ends = early_ends
        self._clock = clock

    async def tick(self) -> None:
        """End what has expired or is not needed, and tell the agents."""
        async with self._db.read() as tx:
            resting = await tx.carried.resting()
        for training_id in resting:
            while ended := await self._end(training_id):
                log.info("carried tasks have ended without a round", training=training_id, clients=sorted(ended))
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
            if training.status in STOPPED:
                return await self._ending.carrying.end_all(tx, training_id, TRAINING_ENDED)
            expired = [
                Leaving(one, EXPIRED)
                for one in await tx.carried.open(training_id)
                if has_expired(one, training.config.in_round(one.round).round_policy, self._clock.now())
            ]
            return await self._ending.carrying.end(tx, training_id, expired[:ENDED_TOGETHER])
