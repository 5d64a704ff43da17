"""A training's parameters: uploading the initial ones, downloading any version that is kept, keeping some for good."""

from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from pathlib import Path

from app.clock import Clock
from app.domain.errors import Removed, StorageLimitReached
from app.domain.events.trainings import ModelPinned, ModelUnpinned, TrainingModelUploaded, patterns_unmatched
from app.domain.trainings import Training, TrainingConfig, check_initial_model
from app.services.rounds.files import FirstModel, RoundFiles
from app.store.database import Database
from app.store.model_store import FileTooLarge, ModelStore, StoredFile
from app.store.models import MeasuredVersion, ModelVersion
from app.store.reading import Part
from app.store.removals import FileRemoved
from app.store.transaction import Transaction
from app.threads import in_thread
from tcsfeel.errors import Invalid
from tcsfeel.wire.errors import WireError

AGAIN_SECONDS = 0.5  # until a file is written again that was being removed


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A version, and the file that holds it."""

    version: ModelVersion
    path: Path


class Models:
    """The models of trainings. An upload is checked in a separate spool before it gets into the store."""

    def __init__(self, db: Database, files: RoundFiles, clock: Clock, *, max_bytes: int, bytes_of_key: int) -> None:
        """An upload may have `max_bytes`, and all models of the trainings of one key `bytes_of_key`."""
        self._db = db
        self._files = files
        self._clock = clock
        self._max_bytes = max_bytes
        self._bytes_of_key = bytes_of_key

    async def upload(self, training_id: str, body: AsyncIterable[bytes]) -> ModelVersion:
        """Give a training its initial parameters, as long as no round has begun.

        Raises:
            NotFound, StateForbids: there is no such training, or it is too late.
            FileTooLarge, Invalid: the body cannot be a model.
            StorageLimitReached: the models of the key that created the training have too many bytes.
        """
        async with self._db.read() as tx:
            training = await tx.trainings.get(training_id)
            check_initial_model(training)
            left = await self._bytes_left(tx, training)
        spool = self._files.upload()
        try:
            received = await self._receive(spool, body, left)
            while True:
                try:
                    return await self._store(training_id, spool, received)
                except FileRemoved:
                    await self._clock.sleep(AGAIN_SECONDS)
        finally:
            await in_thread("files", spool.clear)

    async def get(self, training_id: str, round_number: int | None) -> StoredModel:
        """The version after a round (0: the initial one), or the newest. Raises `NotFound`, `Removed`."""
        async with self._db.read() as tx:
            await tx.trainings.get(training_id)
            version = await _not_removed(tx, training_id, round_number)
        return StoredModel(version, await in_thread("files", self._files.models.path, version.sha256))

    async def page(self, training_id: str, *, limit: int, before: int | None) -> Part[MeasuredVersion]:
        """The versions of rounds below `before`, newest first. Raises `NotFound`."""
        async with self._db.read() as tx:
            await tx.trainings.get(training_id)
            return await tx.models.page(training_id, limit=limit, before=before)

    async def pin(self, training_id: str, round_number: int) -> None:
        """Keep a version whatever the training's retention says. Raises `NotFound`, `Removed`."""
        now = self._clock.now()
        async with self._db.begin() as tx:
            await tx.trainings.get(training_id, for_update=True)
            version = await _not_removed(tx, training_id, round_number)
            if version.pinned_at is None:
                await tx.models.pin(training_id, round_number, now)
                await tx.events.append(ModelPinned(training_id=training_id, round=round_number))

    async def unpin(self, training_id: str, round_number: int) -> None:
        """Let the training's retention decide again. Raises `NotFound`."""
        async with self._db.begin() as tx:
            await tx.trainings.get(training_id, for_update=True)
            version = await tx.models.get(training_id, round_number)
            if version.pinned_at is not None:
                await tx.models.pin(training_id, round_number, None)
                await tx.trainings.tidied(training_id, None)
                await tx.events.append(ModelUnpinned(training_id=training_id, round=round_number))

    async def _bytes_left(self, tx: Transaction, training: Training) -> int:
        """Return how many bytes the initial model of a training may have, so that its creator stays below the limit."""
        if training.created_by is None:
            return self._bytes_of_key
        used = await tx.models.bytes_of(training.created_by, without=training.id)
        return max(0, self._bytes_of_key - used)

    async def _receive(self, spool: ModelStore, body: AsyncIterable[bytes], left: int) -> StoredFile:
        try:
            return await spool.receive(body, min(self._max_bytes, left))
        except FileTooLarge:
            if left >= self._max_bytes:
                raise
            raise StorageLimitReached(
                "model_bytes",
                f"the models of the trainings of one key may have {self._bytes_of_key} bytes together, and "
                f"{left} of them are left: remove models by the retention of trainings, or upload a smaller one",
            ) from None

    async def _store(self, training_id: str, spool: ModelStore, received: StoredFile) -> ModelVersion:
        """Raises `FileRemoved`: do it again."""
        async with self._db.glance() as tx:
            since = await tx.now()
            config = (await tx.trainings.get(training_id)).config
        first = await in_thread("files", self._adopt, spool, received, config)
        stored = first.file
        now = self._clock.now()
        version = ModelVersion(
            training_id=training_id, round=0, sha256=stored.sha256, parent=None, size=stored.size, created_at=now
        )
        async with self._db.begin() as tx:
            training = await tx.trainings.get(training_id, for_update=True)
            check_initial_model(training)
            if training.config != config:  # its groups of tensors may have changed
                raise FileRemoved
            replaced = set() if training.model is None else {training.model} - {stored.sha256}
            await tx.removals.hold({stored.sha256, *replaced})
            await tx.removals.check([stored.sha256], since)
            await tx.removals.request(replaced)
            await tx.models.replace_initial(version)
            found = first.unmatched or None
            await tx.trainings.put(replace(training, model=stored.sha256, unmatched=found, updated_at=now))
            await tx.events.append(TrainingModelUploaded(training_id=training_id, model=stored.sha256))
            for event in patterns_unmatched(training_id, first.unmatched):
                await tx.events.append(event)
        return version

    def _adopt(self, spool: ModelStore, received: StoredFile, config: TrainingConfig) -> FirstModel:
        try:
            return self._files.adopt_initial(spool, received, config)
        except WireError as error:
            raise Invalid("", f"the body is not a safetensors file: {error}") from error


async def _not_removed(tx: Transaction, training_id: str, round_number: int | None) -> ModelVersion:
    version = await tx.models.get(training_id, round_number)
    if version.removed_at is not None:
        raise Removed("model of round", str(version.round))
    return version
