"""A training's parameters: uploading the initial ones, downloading any version."""

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from pathlib import Path

from app.clock import Clock
from app.domain.errors import Invalid, StateForbids
from app.domain.trainings import Training
from app.services.rounds.files import RoundFiles
from app.store.database import Database
from app.store.model_store import ModelStore, StoredFile
from app.store.models import ModelVersion
from app.wire.errors import WireError


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A version, and the file that holds it."""

    version: ModelVersion
    path: Path


class Models:
    """Uploads are checked in a spool of their own before they get into the store."""

    def __init__(self, db: Database, files: RoundFiles, clock: Clock, *, max_bytes: int) -> None:
        self._db = db
        self._files = files
        self._clock = clock
        self._max_bytes = max_bytes

    async def upload(self, training_id: str, body: AsyncIterable[bytes]) -> ModelVersion:
        """Give a training its initial parameters, as long as no round has begun.

        Raises:
            NotFound, StateForbids: there is no such training, or it is too late.
            FileTooLarge, Invalid: the body cannot be a model.
        """
        async with self._db.read() as tx:
            self._check_state(await tx.trainings.get(training_id))
        spool = self._files.upload()
        try:
            received = await spool.receive(body, self._max_bytes)
            stored = await asyncio.to_thread(self._adopt, spool, received)
        finally:
            await asyncio.to_thread(spool.clear)
        now = self._clock.now()
        version = ModelVersion(
            training_id=training_id, round=0, sha256=stored.sha256, parent=None, size=stored.size, created_at=now
        )
        async with self._db.begin() as tx:
            training = await tx.trainings.get(training_id, for_update=True)
            self._check_state(training)
            await tx.models.replace_initial(version)
            await tx.trainings.put(replace(training, model=stored.sha256, updated_at=now))
            await tx.events.append("training.model_uploaded", now, training_id=training_id, model=stored.sha256)
        return version

    async def get(self, training_id: str, round_number: int | None) -> StoredModel:
        """The version after a round (0: the initial one), or the newest. Raises `NotFound`."""
        async with self._db.read() as tx:
            await tx.trainings.get(training_id)
            version = await tx.models.get(training_id, round_number)
        return StoredModel(version, await asyncio.to_thread(self._files.models.path, version.sha256))

    def _check_state(self, training: Training) -> None:
        if training.current_round > 0 or training.status != "created":
            state = training.status if training.status != "created" else "past its first round"
            raise StateForbids("upload initial parameters for", "training", state)

    def _adopt(self, spool: ModelStore, received: StoredFile) -> StoredFile:
        try:
            return self._files.adopt_initial(spool, received)
        except WireError as error:
            raise Invalid("", f"the body is not a safetensors file: {error}") from error
