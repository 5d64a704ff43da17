"""Where a round's files are, which of them are accepted, and what they become, in whatever order they came in."""

import os
import time
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from app.domain.errors import NotFound
from app.domain.parameter_groups import Unmatched
from app.domain.rounds import Participation
from app.domain.trainings import TrainingConfig
from app.services.rounds.files import FirstModel, RoundFiles
from app.services.tasks.assignments import Result
from app.store.model_store import ModelStore, give_back
from app.store.spools import SMALL_BYTES
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.errors import Invalid, UpdateRejected
from tcsfeel.selection.sketches import SIZE
from tcsfeel.wire.codec import decode, encode, unpack
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.sizes import EVALUATION
from tcsfeel.wire.tasks import result_metadata
from tests.services.fakes import profile
from tests.services.rounds.foreign import RESULT
from tests.services.rounds.phases import phase
from tests.store.samples import a_round, client, version

PLAIN = TrainingConfig(name="t")


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def files(models: ModelStore, tmp_path: Path) -> RoundFiles:
    return RoundFiles(models, tmp_path / "spool")


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
    assert (state is not None) == (rule in {"fedadam", "fedyogi", "fedadagrad", "scaffold"})


def test_memory_that_was_given_back_is_read_again(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    mapped = store.map(store.write([b"x" * 10_000]).sha256)
    give_back(mapped)
    assert bytes(mapped) == b"x" * 10_000
    give_back(store.map(store.write([]).sha256))  # which is not mapped at all


def received(client_id: str, **fields: Any) -> Participation:
    return Participation(client_id=client_id, status="received", **fields)


def test_each_round_and_each_upload_has_a_place_of_its_own(files: RoundFiles) -> None:
    stored = files.spool(a_round("t", 3)).write([b"x"])
    assert files.spool_of("t", 3).names() == [stored.sha256]
    assert files.spool_of("t", 4).names() == files.spool_of("other", 3).names() == []
    upload = files.upload()
    other = upload.write([b"x"])
    assert (upload.names(), files.upload().names()) == ([other.sha256], [])
    files.spool_of("other", 12).write([b"x"])
    assert sorted(files.spooled()) == [("other", 12), ("t", 3)], "uploads are no rounds"


def test_the_spool_of_a_round_leaves_nothing_of_its_training_unless_another_round_has_one(files: RoundFiles) -> None:
    large = bytes(SMALL_BYTES + 1)
    for number in (3, 4):
        files.spool_of("t", number).within("a").write([large])
    files.empty_spool("t", 3)
    assert files.spooled() == [("t", 4)]
    files.empty_spool("t", 4)
    files.empty_spool("never", 1)
    assert list(files.spool_directory.iterdir()) == []
    files.spool_of("t", 5).write([large])  # the training goes on
    assert files.spooled() == [("t", 5)]


def test_a_spool_that_is_only_in_memory_is_emptied_as_well(files: RoundFiles) -> None:
    files.spool_of("t", 3).within("a").write([b"x"])
    assert files.spooled() == [("t", 3)]
    files.empty_spool("t", 3)
    assert files.spooled() == []


def test_a_spool_that_is_recycled_is_empty_and_is_no_round_any_more(files: RoundFiles) -> None:
    stored = files.spool_of("t", 3).within("a").write([bytes(SMALL_BYTES + 1)])
    files.recycle_spool("t", 3)
    assert files.spooled() == []
    assert not files.spool_of("t", 3).within("a").has(stored.sha256)
    assert not (files.spool_directory / "t").exists()


def test_other_files_in_the_spool_are_not_taken_for_rounds(files: RoundFiles) -> None:
    files.spool_of("t", 3).write([bytes(SMALL_BYTES + 1)])
    (files.spool_directory / "t" / "notes.txt").write_text("mine")
    assert files.spooled() == [("t", 3)]
    files.empty_spool("t", 3)
    assert [path.name for path in files.spool_directory.glob("*/*")] == ["notes.txt"]


def test_what_was_left_unfinished_for_long_is_swept(files: RoundFiles, models: ModelStore) -> None:
    old, new = files.upload(), files.upload()
    names = [upload.write([b"x"]).sha256 for upload in (old, new)]
    of_round = files.spool_of("t", 3).write([b"x"])
    kept = files.models.write([b"x"])
    unfinished = files.models.path(kept.sha256).with_name(".begun.part")
    unfinished.touch()
    then = time.time() - 100.0
    for path in (old.path(names[0]), old.path(names[0]).parent, unfinished, files.models.path(kept.sha256)):
        os.utime(path, (then, then))
    assert files.sweep(1000.0) == 0
    assert files.sweep(50.0) == 2
    assert (old.names(), new.names(), unfinished.exists()) == ([], [names[1]], False)
    assert files.spool_of("t", 3).has(of_round.sha256)
    assert models.has(kept.sha256)


def test_a_model_is_loaded_by_its_name(files: RoundFiles) -> None:
    stored = files.models.write([encode({"w": np.arange(3, dtype=np.float32)})])
    assert files.load(stored.sha256).parameters()["w"].tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(NotFound):
        files.load("0" * 64)


def test_a_first_model_is_stored_if_it_is_one(files: RoundFiles, models: ModelStore) -> None:
    upload = files.upload()
    good = upload.write([encode({"w": np.ones(3, np.float32)})])
    assert files.adopt_initial(upload, good, PLAIN) == FirstModel(good, Unmatched())
    assert models.names() == [good.sha256]
    with pytest.raises(Invalid, match="not finite"):
        files.adopt_initial(upload, upload.write([encode({"w": np.array([np.nan], np.float32)})]), PLAIN)
    with pytest.raises(WireError):
        files.adopt_initial(upload, upload.write([b"no tensors at all"]), PLAIN)
    assert models.names() == [good.sha256]


def test_an_update_is_measured_and_sketched_unless_its_client_states_its_labels(files: RoundFiles) -> None:
    value = phase(files.spool(a_round("t", 3)))
    body = encode({"w": np.array([3.0, 0.0, 4.0], np.float32)}, result_metadata(RESULT))
    came = Result(value.place("a").write([body]), "identity", 0.0)
    checked = files.check(value, client("a"), came)
    assert (checked.norm, checked.update.file, checked.update.result) == (5.0, came.file, RESULT)
    assert checked.sketch is not None
    assert len(checked.sketch) == SIZE
    stated = client("a", profile=profile(data_distribution={"0": 4, "1": 6}))
    assert files.check(value, stated, came)._replace(update=checked.update) == (checked.update, 5.0, None)


@pytest.mark.parametrize(
    ("parameters", "fields", "reason"),
    [
        ({"w": np.array([1.0, np.inf, 0.0], np.float32)}, {}, "tensor 'w' holds values that are not finite"),
        ({"v": np.ones(3, np.float32)}, {}, "its tensors are not the model's"),
        ({"w": np.full(3, 1e16, np.float32)}, {}, "its update is too far from the model"),
        ({"w": np.ones(3, np.float32)}, {"num_examples": 10_000}, "10000 is more than"),
        ({"w": np.ones(3, np.float32)}, {"metrics": {}, "accuracy": None}, "accuracy"),
    ],
)
def test_an_update_that_cannot_be_averaged_is_rejected(
    files: RoundFiles, parameters: dict[str, Any], fields: dict[str, Any], reason: str
) -> None:
    config = TrainingConfig(name="t", aggregation="weighted")
    value = phase(files.spool(a_round("t", 3)), config=config)
    body = encode(parameters, result_metadata(replace(RESULT, **fields)))
    with pytest.raises(UpdateRejected, match=reason):
        files.check(value, client("a"), Result(value.place("a").write([body]), "identity", 0.0))


def test_a_measurement_is_read_once(files: RoundFiles, spool: ModelStore) -> None:
    def measured(body: bytes) -> Any:
        return files.measurement(spool, spool.write([body]), EVALUATION, 10)

    assert measured(encode({}, result_metadata(RESULT))) == RESULT
    assert measured(encode({}, {"result": '{"num_examples": 0}'})) is None, "it has no held-out examples"
    for bad in (b"nothing", encode({}), encode({}, result_metadata(replace(RESULT, num_examples=10_000)))):
        with pytest.raises(UpdateRejected):
            measured(bad)
    assert spool.names() == []


def test_received_updates_without_a_file_are_lost(files: RoundFiles) -> None:
    spool = files.spool(a_round("t", 3))
    kept = received("a", update=spool.within("a").write([b"x"]).sha256)
    gone = [received("b", update=kept.update), received("c")]  # that of another client does not count
    failed = Participation(client_id="d", status="failed")
    assert files.lost(a_round("t", 3, participations=[kept, *gone, failed])) == gone
    assert files.looked_over(TrainingConfig(name="t"), a_round("t", 3, participations=[kept, *gone, failed])) == (
        {},
        gone,
    )


def test_an_update_far_longer_than_the_others_is_an_outlier(files: RoundFiles) -> None:
    model = files.models.write([encode({"w": np.ones(1, np.float32)})])

    def outliers(*parts: Participation, **config: Any) -> dict[str, str]:
        round_ = a_round("t", 3, base_model=model.sha256, participations=parts)
        return files.outliers(TrainingConfig(name="t", **config), round_)

    near = [received(name, update_norm=1.0) for name in "ab"]
    far = received("c", update_norm=2000.0)
    reason = "its update is far larger than the others: norm 2e+03, the round's median is 1"
    assert outliers(*near, far) == {"c": reason}
    assert outliers(*near, far, aggregation="median") == {}
    assert outliers(*near, replace(far, status="rejected")) == {}, "it was found before"
    assert outliers(*near, received("c", update_norm=999.0)) == {}
    assert files.outliers(TrainingConfig(name="t"), a_round("t", 3, participations=[received("a")])) == {}


def test_the_mean_of_the_received_updates_is_the_next_model(files: RoundFiles) -> None:
    model = files.models.write([encode({"w": np.zeros(1, np.float32)})])
    spool = files.spool(a_round("t", 3))
    parts = [
        received(
            name,
            num_examples=examples,
            loss=1.0,
            update=spool.within(name).write([encode({"w": np.full(1, value, np.float32)})]).sha256,
        )
        for name, examples, value in (("a", 10, 1.0), ("b", 30, 3.0))
    ]
    round_ = a_round("t", 3, base_model=model.sha256, participations=parts)
    stored, state = files.aggregate(TrainingConfig(name="t"), round_, version(2, "0", sha256=model.sha256), spool)
    assert unpack(files.models.map(stored.sha256))[0].parameters()["w"].tolist() == [2.5]  # (10 * 1 + 30 * 3) / 40
    assert state is None
    spool.within("b").clear()
    with pytest.raises(NotFound):
        files.aggregate(TrainingConfig(name="t"), round_, version(2, "0", sha256=model.sha256), spool)
