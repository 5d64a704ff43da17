"""A model as it is uploaded, and its name in the store; the end of a round."""

import hashlib
from dataclasses import replace

import numpy as np

from tcsfeel.wire.codec import encode
from tests.api import Api

MODEL = encode({"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)})
SHA256 = hashlib.sha256(MODEL).hexdigest()


async def end(api: Api, training_id: str, number: int) -> None:
    """Do what the coordinator does at the end of a single round."""
    async with api.system.db.begin() as tx:
        round_ = await tx.rounds.get(training_id, number)
        training = await tx.trainings.get(training_id)
        await tx.rounds.put(replace(round_, status="completed", ended_at=api.clock.now(), average_accuracy=0.75))
        await tx.trainings.put(replace(training, status="paused", stop_after=None))
