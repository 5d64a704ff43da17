"""Apply the retention of trainings to their model versions, and remove the files that nothing needs.

First a version is marked as removed, under its training's lock: from then on it is not served. Its file goes `delay`
seconds later, unless another version, or a state, names it by then: `app.store.removals` has the rules. States of
server optimisers are removed once there is a newer version, with any retention, unless their version is pinned.

Any number of processes may do this at the same time, and any of them may be killed anywhere.
"""

import time
from collections.abc import Sequence

import structlog

from app.clock import Clock
from app.domain.events.trainings import ModelRemoved
from app.domain.retention import Keepable, superfluous, superseded
from app.metrics import Metrics
from app.store.database import Database, in_a_line
from app.store.model_store import ModelFiles, ModelStore, StoreUnavailable
from app.store.models import MeasuredVersion
from app.store.removals import WINDOW
from app.store.transaction import Transaction
from app.threads import in_thread

log = structlog.get_logger(__name__)

BATCH = 100  # of what one transaction or one query takes


class ModelRetention:
    """For all trainings. `copies` is this machine's directory of files that it has of the store's, if there is one."""

    def __init__(
        self,
        *,
        db: Database,
        files: ModelFiles,
        copies: ModelStore | None,
        clock: Clock,
        metrics: Metrics,
        delay: float,
    ) -> None:
        self._db = db
        self._files = files
        self._copies = copies
        self._clock = clock
        self._metrics = metrics
        self._delay = delay

    async def tick(self) -> None:
        """Mark what is superfluous, remove the files that are due, and copies of what others removed."""
        async with self._db.read() as tx:
            changed = await tx.trainings.untidied()
        for training_id in changed:
            while not await self._tidy(training_id):
                pass
        try:
            await self._remove_files()
            await self._remove_copies()
        except StoreUnavailable as error:
            log.warning("files of models could not be removed", reason=in_a_line(error))

    async def _tidy(self, training_id: str) -> bool:
        """Mark a training's superfluous versions and states. False if there are more of them."""
        async with self._db.begin() as tx:
            training = await tx.trainings.get(training_id, for_update=True)
            kept = await tx.models.kept(training_id)
            by_round = {one.version.round: one for one in kept}
            keepable = [_keepable(one) for one in kept]
            states = [by_round[number] for number in superseded(keepable)]
            config, initial = training.config, training.begins_after
            carried = await tx.carried.bases(training_id)
            gone = superfluous(config.retention, config.goal, keepable, initial=initial, carried=carried)
            versions = [by_round[number] for number in gone]
            if states:  # before the versions that they are named by
                await self._forget(tx, training_id, states[:BATCH])
            elif versions:
                await self._mark(tx, training_id, versions[:BATCH])
            whole = not states and len(versions) <= BATCH
            if whole:
                await tx.trainings.tidied(training_id, training.updated_at)
        return whole

    async def _forget(self, tx: Transaction, training_id: str, versions: Sequence[MeasuredVersion]) -> None:
        await tx.removals.request([one.version.optimiser_state or "" for one in versions])
        await tx.models.forget_states(training_id, [one.version.round for one in versions])

    async def _mark(self, tx: Transaction, training_id: str, versions: Sequence[MeasuredVersion]) -> None:
        now = self._clock.now()
        await tx.removals.request([one.version.sha256 for one in versions])
        await tx.models.remove(training_id, [one.version.round for one in versions], now)
        for one in versions:
            version = one.version
            await tx.events.append(
                ModelRemoved(training_id=training_id, round=version.round, model=version.sha256, size=version.size)
            )

    async def _remove_files(self) -> None:
        removed = 0
        while True:
            async with self._db.read() as tx:
                due = await tx.removals.due(self._delay, BATCH)
            for name in due:
                removed += await self._remove(name)
            if len(due) < BATCH:
                break
        if removed:
            log.info("removed files of models", files=removed)

    async def _remove(self, name: str) -> bool:
        """Remove a file. Returns whether it is gone and was removed by this process."""
        began = time.monotonic()
        async with self._db.begin() as tx:
            until = await tx.removals.begin(name)
        if until is None or not await in_thread("files", self._remove_in_time, name, began):
            return False
        async with self._db.begin() as tx:
            ended = await tx.removals.end(name, until)
        if ended:
            self._metrics.model_files_removed.inc()
        return ended

    def _remove_in_time(self, name: str, began: float) -> bool:
        """Remove a file unless so much of the time is gone that the removal might come after its end."""
        if time.monotonic() - began > WINDOW / 4:
            return False
        self._files.remove(name)
        return True

    async def _remove_copies(self) -> None:
        """Other processes have removed files of which this machine has copies."""
        if self._copies is None:
            return
        names = await in_thread("files", self._copies.names)
        for begin in range(0, len(names), BATCH):
            async with self._db.read() as tx:
                gone = await tx.removals.removed(names[begin : begin + BATCH])
            for name in gone:
                await in_thread("files", self._copies.remove, name)


def _keepable(one: MeasuredVersion) -> Keepable:
    return Keepable(
        round=one.version.round,
        sha256=one.version.sha256,
        parent=one.version.parent,
        goal_value=one.goal_value,
        pinned=one.version.pinned_at is not None,
        has_state=one.version.optimiser_state is not None,
    )
