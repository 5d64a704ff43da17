"""Store the versions of a training's model: the first one, which a client gave, and those that rounds make."""

from dataclasses import replace

from app.clock import Clock
from app.domain.events.trainings import TrainingModelFetched, patterns_unmatched
from app.domain.trainings import Training
from app.services.rounds.files import FirstModel
from app.services.rounds.owned import OwnedTransactions
from app.store.database import Database
from app.store.leases import Lease
from app.store.model_store import StoredFile
from app.store.models import ModelVersion
from app.store.transaction import Transaction


class ModelLedger:
    """Writes versions for the owner of a training. `since` is the database's time from before a file was written."""

    def __init__(self, db: Database, owned: OwnedTransactions, clock: Clock) -> None:
        self._db = db
        self._owned = owned
        self._clock = clock

    async def now(self) -> float:
        """Return the value of `since` for files that are written from now on."""
        async with self._db.glance() as tx:
            return await tx.now()

    async def begin(self, lease: Lease, first: FirstModel, *, since: float) -> str:
        """Store the first parameters of a training if it has none yet. Returns the SHA-256 of those that it has."""
        async with self._owned.begin(lease) as tx:
            training = await tx.trainings.get(lease.training_id)
            if training.model is None:
                training, _ = await self.add(tx, training, 0, first.file, since=since)
                await tx.trainings.put(replace(training, unmatched=first.unmatched or None))
                await tx.events.append(TrainingModelFetched(training_id=training.id, model=first.file.sha256))
                for event in patterns_unmatched(training.id, first.unmatched):
                    await tx.events.append(event)
        return training.model or first.file.sha256

    async def add(
        self,
        tx: Transaction,
        training: Training,
        number: int,
        stored: StoredFile,
        *,
        since: float,
        parent: str | None = None,
        optimiser_state: str | None = None,
    ) -> tuple[Training, ModelVersion]:
        """Add the version of round `number`. Returns the training with it, which the caller has to store, and itself.

        Raises `FileRemoved`: write the files again.
        """
        await tx.removals.check([name for name in (stored.sha256, optimiser_state) if name is not None], since)
        now = self._clock.now()
        version = ModelVersion(
            training_id=training.id,
            round=number,
            sha256=stored.sha256,
            parent=parent,
            size=stored.size,
            created_at=now,
            optimiser_state=optimiser_state,
        )
        await tx.models.add(version)
        return replace(training, model=stored.sha256, updated_at=now), version
