"""Smaller uploads: what agents send when asked for them, and what the round makes of it."""

import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.trainings import Uploads
from app.services.rounds.engine import RoundEngine
from app.services.rounds.uploads import full_update
from app.store.model_store import ModelStore
from tcsfeel.agent import FitResult, Parameters, Task
from tcsfeel.errors import UpdateRejected
from tcsfeel.wire.codec import decode, encode, pack, unpack
from tcsfeel.wire.compression import Compression
from tcsfeel.wire.differences import encode_update
from tcsfeel.wire.headers import LENGTH
from tcsfeel.wire.sizes import AnswerSize, fit_size
from tcsfeel.wire.tasks import EncodingName, result_metadata
from tcsfeel.wire.tasks import UpdateEncoding as Encoding
from tests.planes import Adder, Plane, plane
from tests.services.courses import parts
from tests.services.rounds.foreign import BOTH, INT8, RESULT, STEP, Foreign, encoded, join, zstd

WIDTH = 20_000


class Wide(Adder):
    """An adder whose one parameter has many values, as random as trained ones."""

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(WIDTH, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        moved = super().fit(parameters, task).parameters["w"].copy()
        moved[1:] += np.random.default_rng(1).uniform(-STEP, 0, WIDTH - 1).astype(np.float32)
        return FitResult({"w": moved}, self.examples, self.loss, self.accuracy)


def counted(running: Plane, encoding: str, coding: str) -> float | None:
    """Of the metric."""
    labels = {"encoding": encoding, "coding": coding}
    return running.system.metrics.registry.get_sample_value("federated_updates_total", labels)


@pytest.mark.parametrize("encoding", ["full", "float16", "int8"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
async def test_the_next_model_comes_of_smaller_uploads(
    database_url: str, tmp_path: Path, encoding: EncodingName, compression: Compression
) -> None:
    trainers = {"a": Wide(STEP, examples=10), "b": Wide(3 * STEP, examples=30)}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(uploads=Uploads(encoding=encoding, compression=compression))
        for number in (1, 2):
            round_ = await running.run_round(training_id)
            assert {part.status for part in round_.participations} == {"received"}
            # (10 * 1 + 30 * 3) / 40 = 2.5 steps a round
            assert await running.weight(training_id, number) == pytest.approx(2.5 * STEP * number, rel=1e-3)
        size = 4 * WIDTH
        bytes_each = {"full": size, "float16": size // 2, "int8": size // 4}[encoding]
        for part in round_.participations:
            assert part.bytes_sent > size
            assert part.bytes_received < bytes_each * (0.95 if compression == "zstd" else 1) + 600
        assert all(set(trainer.fitted.values()) == {1} for trainer in trainers.values())
        assert counted(running, encoding, "zstd" if compression == "zstd" else "identity") == 4


async def test_what_int8_loses_in_one_round_arrives_with_the_next(sqlite_url: str, tmp_path: Path) -> None:
    class Uneven(Adder):
        def fit(self, parameters: Parameters, task: Task) -> FitResult:
            fitted = super().fit(parameters, task)
            return replace(fitted, parameters={"w": parameters["w"] + np.array([0, 127, 0.25], np.float32)})

    async with plane(tmp_path, sqlite_url, {"a": Uneven()}) as running:
        training_id = await running.create(uploads=INT8)
        third = []
        for _ in range(6):
            await running.run_round(training_id)
            stored = await running.system.models.get(training_id, None)
            third.append(float(decode(stored.path.read_bytes())[0]["w"][2]))
    # 0.25, 0.5 (even wins: 0), 0.75 -> 1, then 1 - 1 = 0 and so on
    assert third == [0, 0, 1, 1, 1, 1]


async def test_an_agent_that_does_not_know_the_offer_is_taken_in_full(sqlite_url: str, tmp_path: Path) -> None:
    def in_full(parameters: Parameters, _: Task) -> tuple[bytes, Mapping[str, str]]:
        return encode({"w": parameters["w"] + np.float32(3 * STEP)}, result_metadata(RESULT)), {}

    old = Foreign(in_full)
    async with plane(tmp_path, sqlite_url, {"new": Adder(STEP), "old": Adder()}) as running:
        join(running, "old", old)
        round_ = await running.run_round(training_id := await running.create(uploads=BOTH))
        assert {part.status for part in round_.participations} == {"received"}
        assert await running.weight(training_id) == 2 * STEP
        await running.system.participants.drain()
        assert (counted(running, "int8", "zstd"), counted(running, "full", "identity")) == (1, 1)
    fit, evaluate = old.tasks
    assert (fit.update_encoding, evaluate.update_encoding) == ("int8", "full")
    assert old.accepted == ["zstd", "identity"]
    assert len(old.forgotten) == 2


async def test_nothing_is_offered_unless_the_training_says_so(sqlite_url: str, tmp_path: Path) -> None:
    plain = Foreign(lambda parameters, _: (encode(parameters, result_metadata(RESULT)), {}))
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        join(running, "a", plain)
        round_ = await running.run_round(await running.create())
    assert parts(round_)["a"].status == "received"
    assert [task.update_encoding for task in plain.tasks] == ["full", "full"]
    assert plain.accepted == ["identity", "identity"]


@pytest.mark.parametrize(
    "uploads",
    [Uploads(), INT8, BOTH, Uploads(compression="zstd")],
    ids=["full", "int8", "int8-zstd", "zstd"],
)
async def test_uploads_that_left_the_spool_are_asked_for_and_expanded_again(
    sqlite_url: str, tmp_path: Path, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregate = RoundEngine._aggregate

    async def lose_the_spool(self: RoundEngine, *args: Any) -> Any:
        self._files.spool(args[2]).clear()
        return await aggregate(self, *args)

    trainers = {"a": Wide(STEP), "b": Wide(3 * STEP)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        undisturbed = await running.create(uploads=uploads)
        await running.run_round(undisturbed)
        monkeypatch.setattr(RoundEngine, "_aggregate", lose_the_spool)
        training_id = await running.create(uploads=uploads)
        round_ = await running.run_round(training_id)
        assert round_.status == "completed"
        assert round_.model == (await running.system.models.get(undisturbed, 1)).version.sha256
        assert all(set(trainer.fitted.values()) == {1} for trainer in trainers.values())


def test_the_same_upload_becomes_the_same_file_anywhere(spool: ModelStore, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    base = pack({"w": rng.normal(size=300_000).astype(np.float32), "n": np.arange(3)})
    update = {name: tensor + 1 for name, tensor in base.parameters().items()}
    made = encode_update(update, base.parameters(), "int8", {})
    assert made is not None
    body = encode(made.parameters, result_metadata(RESULT, made.encoding))
    found = []
    for store, content, coding in [
        (spool, body, "identity"),
        (spool, body, "identity"),
        (spool, zstd(body), "zstd"),
        (ModelStore(tmp_path / "elsewhere"), body, "identity"),
    ]:
        found.append(full_update(store, store.write([content]), base, fit_size(base), encoding="int8", coding=coding))
    assert len({update.file for update in found}) == 1
    assert found[0].encoding == "int8"
    packed, metadata = unpack(spool.map(found[0].file.sha256))
    assert (metadata, found[0].result) == (result_metadata(RESULT), RESULT)
    assert found[0].packed == packed, "it is given as it would be read"
    full = packed.parameters()
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in full.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in update.items()
    }
    assert np.abs(full["w"] - update["w"]).max() <= made.encoding.scales["w"] / 2 + 1e-6
    assert full["n"].tolist() == [1, 2, 3]


def test_a_compressed_upload_in_full_is_the_file_itself(spool: ModelStore) -> None:
    base = pack({"w": np.zeros(3, np.float32)})
    body = encode({"w": np.ones(3, np.float32)}, result_metadata(RESULT))
    in_zstd = spool.write([zstd(body)])
    plain = full_update(spool, in_zstd, base, fit_size(base), encoding="full", coding="zstd")
    assert (bytes(spool.map(plain.file.sha256)), plain.encoding, plain.result) == (body, "full", RESULT)
    again = full_update(spool, plain.file, base, fit_size(base), encoding="int8", coding="identity")
    assert (again.file, again.encoding) == (plain.file, "full")


def test_a_bomb_is_cut_near_the_models_size(spool: ModelStore) -> None:
    base = pack({"w": np.zeros(1000, np.float32)})
    upload = spool.write([zstd(bytes(1_000_000))])
    with pytest.raises(UpdateRejected, match="its zstd body holds more than"):
        full_update(spool, upload, base, fit_size(base), encoding="full", coding="zstd")
    assert spool.names() == [upload.sha256]


def test_an_update_whose_header_would_be_too_long_in_full_is_refused(spool: ModelStore) -> None:
    base = pack({f"{number:03}": np.zeros(3000, np.float32) for number in range(400)})
    sent = {name: np.ones(3000, np.float16) for name in base.layout}
    upload = spool.write([body := encoded(sent, Encoding(name="float16"))])
    (length,) = LENGTH.unpack_from(body)  # shorter than in full, where positions have more digits
    with pytest.raises(UpdateRejected, match=f"bytes, at most {length} are allowed here"):
        full_update(spool, upload, base, AnswerSize(length, len(body)), encoding="float16", coding="identity")
    assert spool.names() == [upload.sha256], "nothing was written"


def test_an_upload_makes_way_for_what_is_made_of_it(spool: ModelStore) -> None:
    base = pack({"w": np.zeros(1000, np.float32)})
    codes = {"w": np.ones(1000, np.int8)}
    upload = spool.write([zstd(encoded(codes, Encoding(name="int8", scales={"w": 0.5})))])
    full = full_update(spool, upload, base, fit_size(base), encoding="int8", coding="zstd")
    assert spool.names() == [full.file.sha256]


def test_expanding_takes_little_memory(spool: ModelStore) -> None:
    base, _ = unpack(spool.map(spool.write([encode({"w": np.ones(8_000_000, np.float32)})]).sha256))  # 32 MB
    codes = {"w": np.full(8_000_000, 3, np.int8)}
    upload = spool.write([zstd(encoded(codes, Encoding(name="int8", scales={"w": 0.5})))])
    tracemalloc.start()
    try:
        full = full_update(spool, upload, base, fit_size(base), encoding="int8", coding="zstd")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
    assert (decode(spool.map(full.file.sha256))[0]["w"] == 2.5).all()
