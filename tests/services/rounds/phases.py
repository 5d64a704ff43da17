"""Make a phase of a round for tests of what its tasks need."""

from typing import Any

import numpy as np

from app.domain.retries import RetryBudget
from app.domain.trainings import TrainingConfig
from app.services.rounds.phase import Phase
from app.store.leases import Lease
from app.store.model_store import ModelStore
from tcsfeel.wire.codec import pack
from tcsfeel.wire.sizes import fit_size
from tests.services.rounds.foreign import BOTH
from tests.store.samples import a_round

MODEL = pack({"w": np.zeros(3, np.float32)})
LEASE = Lease("t", "owner", 1)


def phase(spool: ModelStore, **fields: Any) -> Phase:
    """Make the training phase of round 3; `fields` are those that a test wants otherwise."""
    given: dict[str, Any] = {
        "lease": LEASE,
        "round_": a_round("t", 3),
        "kind": "fit",
        "config": TrainingConfig(name="t", hyperparameters={"epochs": 2}, uploads=BOTH),
        "model": MODEL,
        "size": fit_size(MODEL),
        "spool": spool,
        "budget": RetryBudget(1),
        "deadline": 100.0,
    }
    return Phase(**(given | fields))
