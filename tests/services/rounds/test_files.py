"""What a round's files become, whatever order their updates came in."""

from itertools import permutations
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from app.domain.rounds import Participation
from app.domain.trainings import TrainingConfig
from app.services.rounds.files import RoundFiles
from app.store.model_store import ModelStore, give_back
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.wire.codec import decode, encode
from tests.store.samples import a_round, version


@pytest.fixture
def files(tmp_path: Path) -> RoundFiles:
    return RoundFiles(ModelStore(tmp_path / "models"), tmp_path / "spool")


@pytest.mark.parametrize("rule", get_args(Aggregation))
def test_the_order_of_arrival_does_not_show_in_the_bytes(files: RoundFiles, rule: Aggregation) -> None:
    rng = np.random.default_rng(4)
    model = files.models.write([encode({"w": np.zeros(3, np.float32), "h": np.zeros((2, 0), np.float16)})])
    spool = files.spool(a_round())
    parts = []
    for client_id in "abcdef":
        drawn = rng.standard_normal(3).astype(np.float32)
        stored = spool.within(client_id).write([encode({"w": drawn, "h": np.zeros((2, 0), np.float16)})])
        parts.append(
            Participation(
                client_id=client_id,
                status="received",
                num_examples=int(rng.integers(1, 100)),
                loss=1.0,
                accuracy=0.7,
                update=stored.sha256,
            )
        )
    config = TrainingConfig(name="t", aggregation=rule, hyperparameters={"server_clip_norm": 1.5})
    base = version(0, "0", sha256=model.sha256)
    results = {
        files.aggregate(config, a_round(base_model=model.sha256, participations=order), base, spool)
        for order in list(permutations(parts))[::60]
    }
    ((stored, state),) = results
    assert np.isfinite(decode(files.models.map(stored.sha256))[0]["w"]).all()
    assert (state is not None) == (rule in {"fedadam", "fedyogi", "fedadagrad"})


def test_memory_that_was_given_back_is_read_again(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    mapped = store.map(store.write([b"x" * 10_000]).sha256)
    give_back(mapped)
    assert bytes(mapped) == b"x" * 10_000
    give_back(store.map(store.write([]).sha256))  # which is not mapped at all
