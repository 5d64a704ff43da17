"""SCAFFOLD's control variates in files: kept from round to round, and sent with fit tasks."""

from pathlib import Path

import numpy as np
import pytest

from app.domain.parameter_groups import ParameterGroups
from app.domain.rounds import Participation
from app.domain.trainings import TrainingConfig
from app.services.rounds.files import RoundFiles
from app.services.rounds.optimiser_states import (
    Controlled,
    NoRoomForControl,
    check_room,
    kept_state,
    metadata_of_state,
    with_control,
)
from app.store.model_store import ModelStore
from app.store.models import ModelVersion
from tcsfeel.aggregation import Parameters
from tcsfeel.errors import UnusableRound
from tcsfeel.wire.codec import Packed, encode
from tests.store.samples import a_round, version

CONFIG = TrainingConfig(name="t", aggregation="scaffold")


@pytest.fixture
def files(tmp_path: Path) -> RoundFiles:
    return RoundFiles(ModelStore(tmp_path / "models"), tmp_path / "spool")


def stored(files: RoundFiles, number: int, parameters: Parameters) -> ModelVersion:
    return version(number, "a", sha256=files.models.write([encode(parameters)]).sha256)


def sent(files: RoundFiles, base: ModelVersion, config: TrainingConfig = CONFIG) -> Controlled:
    plain = files.to_send(a_round(), config, base.sha256, base.sha256)
    return with_control(files.models, config, base, plain, files.spool(a_round()))


def lists(model: Packed) -> dict[str, list[float]]:
    return {name: tensor.tolist() for name, tensor in model.parameters().items()}


def test_fit_tasks_bring_the_control_variates(files: RoundFiles) -> None:
    base = stored(files, 3, {"w": np.ones(2, np.float32), "n": np.array([1])})
    first = sent(files, base)
    assert lists(first.sent.model) == {"w": [1, 1], "n": [1], "control/w": [0, 0]}
    assert (first.sent.frozen, first.since) == (None, 3)

    spool = files.spool(a_round())
    update = spool.within("a").write([encode({"w": np.zeros(2, np.float32), "n": np.array([1])})]).sha256
    part = Participation(client_id="a", status="received", update=update, num_examples=1, num_steps=5)
    model, state = files.aggregate(CONFIG, a_round(participations=(part,)), base, spool)
    after = version(4, "b", sha256=model.sha256, parent=base.sha256, optimiser_state=state)
    second = sent(files, after)
    assert second.sent.model.parameters()["control/w"] == pytest.approx(np.full(2, 1 / (5 * 0.1)))
    assert second.since == 3, "the control variates have not begun anew"
    assert metadata_of_state(files.models, CONFIG, after) == {"training": "t", "since": "3"}
    assert metadata_of_state(files.models, TrainingConfig(name="t", aggregation="fedadam"), after) is None


def test_tensors_that_are_not_trained_have_no_control_variate(files: RoundFiles) -> None:
    config = TrainingConfig(
        name="t", aggregation="scaffold", parameters=ParameterGroups(frozen=("e*",)), statistics=("s",)
    )
    base = stored(files, 0, {name: np.ones(1, np.float32) for name in ("w", "s", "embedding")})
    found = sent(files, base, config).sent
    assert lists(found.model) == {"w": [1], "s": [1], "control/w": [0]}
    assert found.frozen is not None
    assert lists(found.frozen.whole) == {"w": [1], "s": [1], "embedding": [1], "control/w": [0]}


def test_the_control_variates_of_another_training_are_not_used(files: RoundFiles) -> None:
    base = stored(files, 5, {"w": np.ones(1, np.float32)})
    metadata = {"training": "t", "since": "2"}
    state = files.models.write([encode({"w": np.full(1, 7, np.float32)}, metadata)]).sha256
    own = version(5, "a", sha256=base.sha256, optimiser_state=state)
    assert (lists((found := sent(files, own)).sent.model)["control/w"], found.since) == ([7.0], 2)
    copied = version(5, "a", sha256=base.sha256, optimiser_state=state, training_id="fork")
    found = sent(files, copied)
    assert (lists(found.sent.model)["control/w"], found.since) == ([0.0], 5)
    assert kept_state(files.models, TrainingConfig(name="t", aggregation="fedadam"), copied) is not None


def test_a_state_that_is_lost_makes_no_round(files: RoundFiles) -> None:
    lost = version(1, "a", optimiser_state="f" * 64)
    with pytest.raises(UnusableRound, match="the state of the server optimiser is missing"):
        kept_state(files.models, CONFIG, lost)


def test_a_model_whose_names_leave_no_room_cannot_be_trained(files: RoundFiles) -> None:
    base = stored(files, 0, {"control/w": np.ones(1, np.float32)})
    with pytest.raises(NoRoomForControl, match="cannot be trained with SCAFFOLD: tensor 'control/w' has the name"):
        check_room(CONFIG, {"control/w": np.ones(1)})
    check_room(TrainingConfig(name="t"), {"control/w": np.ones(1)})
    with pytest.raises(UnusableRound, match="cannot be trained with SCAFFOLD: tensor 'control/w' has the name"):
        sent(files, base)
