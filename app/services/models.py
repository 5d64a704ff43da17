"""A training's parameters: uploading the initial ones, downloading any version."""

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.clock import Clock
from app.domain.errors import Invalid, StateForbids
from app.domain.trainings import Training
from app.store.database import Database
from app.store.model_store import ModelStore
from app.store.models import ModelVersion
from app.wire.codec import unpack
from app.wire.errors import WireError


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A version, and the file that holds it."""

    version: ModelVersion
    path: Path


class Models:
    def __init__(self, db: Database, store: ModelStore, clock: Clock, *, max_bytes: int) -> None:
        self._db = db
        self._store = store
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
        stored = await self._store.receive(body, self._max_bytes)
        await asyncio.to_thread(self._check, stored.sha256)
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
        return StoredModel(version, await asyncio.to_thread(self._store.path, version.sha256))

    def _check_state(self, training: Training) -> None:
        if training.current_round > 0 or training.status != "created":
            state = training.status if training.status != "created" else "past its first round"
            raise StateForbids("upload initial parameters for", "training", state)

    def _check(self, sha256: str) -> None:
        try:
            parameters = unpack(self._store.map(sha256))[0].parameters()
        except (WireError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise Invalid("", f"the body is not a safetensors file: {error}") from error
        if not parameters:
            raise Invalid("", "the file holds no tensor")
        for name, tensor in parameters.items():
            if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
                raise Invalid(f"/{name}", f"tensor {name!r} holds values that are not finite")
