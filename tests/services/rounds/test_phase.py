"""What the tasks of one phase have in common: the task that each client is given, and the place of its answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.failures import Failure
from app.domain.rounds import Participation
from app.domain.tasks import TaskRun
from app.domain.trainings import Uploads
from app.services.rounds.phase import SHORT_HEADER_BYTES
from app.services.tasks.assignments import Result
from app.services.tasks.blocks import BLOCK_BYTES
from app.store.model_store import ModelStore
from app.store.spools import SMALL_BYTES, Spool, SpooledFiles
from tcsfeel.errors import UpdateRejected
from tcsfeel.wire.codec import Packed, encode, pack
from tcsfeel.wire.compression import largest
from tcsfeel.wire.sizes import fit_size
from tcsfeel.wire.tasks import result_metadata
from tests.services.rounds.foreign import BOTH, RESULT, zstd
from tests.services.rounds.phases import LEASE, MODEL, phase
from tests.store.samples import client


def test_a_task_says_what_the_training_wants_of_it(spool: ModelStore) -> None:
    value = phase(spool)
    part = Participation(client_id="a", status="training", attempts=2, bytes_sent=30, bytes_received=4)
    given = value.assignment(client("a"), 40.0, part, resumed=True)
    task = given.task
    assert (task.id, task.kind, task.training_id, task.round) == ("t.3.a.fit", "fit", "t", 3)
    assert (dict(task.hyperparameters), task.update_encoding, task.deadline_seconds) == ({"epochs": 2}, "int8", 60.0)
    assert (given.accept, given.limit) == ("zstd", largest(value.size.file_bytes, "zstd"))
    assert (given.client, given.model, given.lease) == (client("a"), MODEL, LEASE)
    assert given.run == TaskRun(attempts=2, bytes_sent=30, bytes_received=4, resumed=True)
    fewer = value.assignment(client("a"), 40.0, replace(part, local_epochs=2)).task
    assert fewer.hyperparameters == {"epochs": 2, "local_epochs": 2}


def test_a_task_takes_a_part_of_the_work_if_its_rule_can_weigh_that(spool: ModelStore) -> None:
    value = phase(spool)
    assert value.assignment(client("a"), 40.0).task.partial_margin == pytest.approx(6.0, abs=0.5)  # of 60 s
    assert value.transfer_seconds(client("a")) == client("a").candidate().transfer_seconds(12)
    for config, kind in [
        (replace(value.config, aggregation="median"), "fit"),
        (replace(value.config, topology="relay"), "fit"),
        (value.config, "evaluate"),
    ]:
        other = phase(spool, config=config, kind=kind)
        assert (value.takes_partial, other.takes_partial) == (True, False)
        assert other.assignment(client("a"), 40.0).task.partial_margin == 0.0


def test_a_task_is_new_and_has_a_second_left_at_least(spool: ModelStore) -> None:
    given = phase(spool).assignment(client("a"), 1000.0)
    assert given.task.deadline_seconds == 1.0
    assert given.run == TaskRun()


def test_a_carried_task_is_that_of_the_round_in_which_it_began(spool: ModelStore) -> None:
    present = pack({"w": np.ones(3, np.float32)})
    value = phase(spool, begun_in=1, present=present, more_seconds=30.0)
    task = value.assignment(client("a"), 40.0).task
    assert (task.id, task.round, task.deadline_seconds) == ("t.1.a.fit", 1, 90.0)
    assert (value.compared, phase(spool).compared) == (present, MODEL)
    came = value.place("a").write([encode({"w": np.full(3, 0.5, np.float32)}, result_metadata(RESULT))])
    update = value.full_update("a", Result(came, "identity", 0.0))
    assert update.packed.parameters()["w"].tolist() == [1.5, 1.5, 1.5]


def test_that_a_task_is_over_is_noted_beside_what_it_has_cost(spool: ModelStore) -> None:
    value = phase(spool, runs={"a": TaskRun(attempts=2)})
    value.over("a")
    value.over("b")
    assert value.runs == {"a": TaskRun(attempts=2, over=True), "b": TaskRun(over=True)}


def test_a_measurement_is_asked_for_in_full(spool: ModelStore) -> None:
    assert phase(spool).uploads == BOTH
    value = phase(spool, kind="evaluate")
    assert value.uploads == Uploads()
    given = value.assignment(client("a"), 40.0)
    assert (given.task.id, given.task.update_encoding, given.accept) == ("t.3.a.evaluate", "full", "identity")


async def test_each_client_has_a_place_of_its_own_that_can_be_emptied(spool: ModelStore) -> None:
    value = phase(spool)
    kept = value.place("a").write([b"of a"])
    dropped = value.assignment(client("b"), 0.0).spool.write([b"of b"])
    assert value.place("b").names() == [dropped.sha256]
    await value.drop("b")
    await value.drop("b")  # it may be there no more
    assert (value.place("a").names(), value.place("b").names()) == ([kept.sha256], [])


def test_a_failure_names_the_task_of_the_phase(spool: ModelStore) -> None:
    expected = Failure(phase="fit", training_id="t", round=3, reason="not finite")
    assert phase(spool).failure("not finite") == expected
    assert phase(spool, kind="evaluate").failure("not finite") == replace(expected, phase="evaluate")


def test_an_update_is_read_as_the_training_offered_to_take_it(spool: ModelStore) -> None:
    body = encode({"w": np.ones(3, np.float32)}, result_metadata(RESULT))
    value = phase(spool)
    full = value.full_update("a", Result(value.place("a").write([zstd(body)]), "zstd", 0.0))
    assert (full.packed.parameters()["w"].tolist(), full.result) == ([1.0, 1.0, 1.0], RESULT)
    assert value.place("a").names() == [full.file.sha256], "only the update in full is kept"
    with pytest.raises(UpdateRejected):
        value.full_update("b", Result(value.place("b").write([b"no update at all"]), "identity", 0.0))


def test_an_answer_is_soon_checked_if_it_is_in_memory_and_not_compressed(tmp_path: Path) -> None:
    these = phase(Spool(tmp_path, SpooledFiles()))
    stored = these.place("a").write([encode({}, {})])
    assert these.is_soon_checked(client("a"), Result(stored, "identity", 0.0))
    assert not these.is_soon_checked(client("a"), Result(stored, "zstd", 0.0))
    assert not these.is_soon_checked(client("b"), Result(stored, "identity", 0.0))


def test_a_full_update_of_a_megabyte_is_soon_checked_if_nothing_is_made_of_it(tmp_path: Path) -> None:
    model = pack({"w": np.zeros(BLOCK_BYTES - (1 << 10), np.int8)})
    encoded = phase(Spool(tmp_path, SpooledFiles()), model=model, size=fit_size(model))
    full = replace(encoded, config=replace(encoded.config, uploads=Uploads()))
    labelled = replace(client("a"), profile=replace(client("a").profile, data_distribution=[1.0]))
    other = replace(client("a"), profile=replace(client("a").profile, data_distribution=None))
    came = Result(full.place("a").write([encode(model.parameters(), result_metadata(RESULT))]), "identity", 0.0)
    assert full.is_soon_checked(labelled, came)
    assert not full.is_soon_checked(other, came), "a million values are sketched"
    assert replace(full, model=pack({"w": np.zeros(BLOCK_BYTES // 8, np.float32)})).is_soon_checked(other, came)
    assert not encoded.is_soon_checked(labelled, came), "it may be expanded"
    assert not replace(full, present=model).is_soon_checked(labelled, came), "it is moved to another model"
    assert not replace(full, model=pack({"w": np.zeros(BLOCK_BYTES, np.int8)})).is_soon_checked(labelled, came)
    assert not replace(full, model=MANY).is_soon_checked(labelled, came), "its tensors are compared one by one"


LARGE = pack({"w": np.zeros(SMALL_BYTES, np.int8)})
MANY = pack({f"layer {number}": np.zeros(1, np.int8) for number in range(SMALL_BYTES // 64)})


@pytest.mark.parametrize("model", [LARGE, MANY], ids=["large", "many tensors"])
def test_a_small_answer_to_a_large_model_is_checked_in_a_thread(tmp_path: Path, model: Packed) -> None:
    fit = phase(Spool(tmp_path, SpooledFiles()), model=model, size=fit_size(model))
    came = Result(fit.place("a").write([encode({}, {})]), "identity", 0.0)
    assert not fit.is_soon_checked(client("a"), came), "it is compared with all of the model, or expanded"
    assert replace(fit, kind="evaluate").is_soon_checked(client("a"), came), "a measurement is read by itself"


@pytest.mark.parametrize("kind", ["fit", "evaluate"])
def test_an_answer_with_a_long_header_is_parsed_in_a_thread(tmp_path: Path, kind: str) -> None:
    these = phase(Spool(tmp_path, SpooledFiles()), kind=kind)
    entries = {str(number): "" for number in range(SHORT_HEADER_BYTES // 8)}
    for metadata, small in [(entries, False), (result_metadata(RESULT), True)]:
        stored = these.place("a").write([encode({}, metadata)])
        assert these.is_soon_checked(client("a"), Result(stored, "identity", 0.0)) is small
