"""Trainings whose tensors are not all alike: what travels, what the new model holds, and what is told.

Covers: app.services.rounds.engine, app.services.rounds.files, app.services.rounds.initial_models
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.domain.parameter_groups import NothingToTrain, ParameterGroups, Unmatched
from app.domain.trainings import SelectionConfig, TrainingConfig, Uploads
from app.services.rounds.files import FirstModel, RoundFiles
from app.services.trainings.forking import Start
from app.store.model_store import ModelStore, StoredFile
from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Task
from tcsfeel.errors import Invalid
from tcsfeel.wire.codec import decode, encode
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder, Plane, plane
from tests.store.samples import a_round

GROUPS = ParameterGroups(local=("bn.*",), frozen=("embedding",))
EMBEDDING = np.arange(3000, dtype=np.float32)


class Layered(Adder):
    """Moves its own BatchNorm and the common weight; both begin where the test says, and it notes what it was given."""

    def __init__(self, step: float, own: float) -> None:
        super().__init__(step)
        self.own = own
        self.given: list[dict[str, float]] = []

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(3, np.float32), "bn.scale": np.full(2, self.own, np.float32), "embedding": EMBEDDING}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self._note(parameters)
        result = super().fit({"w": parameters["w"]}, task)
        moved = {**parameters, **result.parameters, "bn.scale": parameters["bn.scale"] * 2}
        return FitResult(moved, result.num_examples, result.loss, result.accuracy)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        self._note(parameters)
        return super().evaluate(parameters, task)

    def _note(self, parameters: Parameters) -> None:
        assert parameters["embedding"].tolist() == EMBEDDING.tolist()
        self.given.append({"w": float(parameters["w"][0]), "bn": float(parameters["bn.scale"][0])})


@asynccontextmanager
async def layered(directory: Path, database_url: str) -> AsyncIterator[tuple[Plane, Layered, Layered]]:
    first, second = Layered(1.0, 10.0), Layered(3.0, 20.0)
    async with plane(directory, database_url, {"a": first, "b": second}) as running:
        yield running, first, second


async def model(running: Plane, training_id: str, number: int | None = None) -> dict[str, npt.NDArray[Any]]:
    return decode((await running.system.models.get(training_id, number)).path.read_bytes())[0]


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("aggregation", "uploads"),
    [
        ("fedavg", Uploads()),
        ("fedavg", Uploads(encoding="int8", compression="zstd")),
        ("fedavgm", Uploads(encoding="float16")),
        ("fedadam", Uploads()),
        ("median", Uploads()),
    ],
)
async def test_local_tensors_stay_and_frozen_ones_are_as_they_were(
    sqlite_url: str, tmp_path: Path, aggregation: Any, uploads: Uploads
) -> None:
    async with layered(tmp_path, sqlite_url) as (running, first, second):
        training_id = await running.create(parameters=GROUPS, aggregation=aggregation, uploads=uploads)
        rounds = [await running.run_round(training_id) for _ in range(3)]
        assert [round_.status for round_ in rounds] == ["completed"] * 3, rounds[-1].failure_reason
        for number in range(4):
            version = await model(running, training_id, number)
            assert version.keys() == {"w", "embedding"}
            assert version["embedding"].tobytes() == EMBEDDING.tobytes()
        if aggregation == "fedavg":
            assert (await model(running, training_id))["w"] == pytest.approx(6.0, abs=0.1)
    # each was asked to train and to measure in three rounds, and its scale doubles when it trains
    assert [given["bn"] for given in first.given] == [10.0, 20.0, 20.0, 40.0, 40.0, 80.0]
    assert [given["bn"] for given in second.given] == [20.0, 40.0, 40.0, 80.0, 80.0, 160.0]


def test_tasks_carry_what_updates_hold_and_the_rest_is_at_hand(tmp_path: Path) -> None:
    files = RoundFiles(ModelStore(tmp_path / "models"), tmp_path / "spool")
    parameters = Layered(1.0, 10.0).initial_parameters()
    stored = files.models.write([encode(parameters)])
    round_ = a_round("t", 3)
    plain = TrainingConfig(name="t")
    sent = files.to_send(round_, plain, stored.sha256, "")
    assert (set(sent.model.layout), sent.frozen) == ({"w", "bn.scale", "embedding"}, None)
    assert files.spool(round_).names() == [], "the model itself is sent"
    local = replace(plain, parameters=ParameterGroups(local=("bn.*",)))
    assert set(files.to_send(round_, local, stored.sha256, "").model.layout) == {"w", "embedding"}

    both = replace(plain, parameters=GROUPS)
    sent, again = (files.to_send(round_, both, stored.sha256, "f" * 64) for _ in range(2))
    assert sent.frozen is not None
    assert (set(sent.model.layout), set(sent.frozen.whole.layout)) == ({"w"}, {"w", "embedding"})
    assert sent.model.parameters()["w"].tolist() == [0.0, 0.0, 0.0]
    assert again.frozen is not None
    assert again.frozen.id == sent.frozen.id
    assert files.bytes_to_send(plain, stored.sha256) == stored.size
    assert files.bytes_to_send(both, stored.sha256) == stored.size - EMBEDDING.nbytes - 2 * 4
    with pytest.raises(NothingToTrain):  # such as a model that another training has made
        files.bytes_to_send(
            replace(plain, parameters=ParameterGroups(local=("*w", "b*"), frozen=("e*",))), stored.sha256
        )


async def test_frozen_tensors_are_sent_once_and_count_as_bytes_once(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Layered(1.0, 10.0)}) as running:
        training_id = await running.create(parameters=GROUPS)
        rounds = [await running.run_round(training_id) for _ in range(2)]
        sent = [[part.bytes_sent for part in round_.participations] for round_ in rounds]
        measured = [[one.bytes_sent for one in round_.evaluations] for round_ in rounds]
        ((once,), (later,)) = sent
        assert once > EMBEDDING.nbytes > 2000 > later
        assert all(bytes_sent < 2000 for of_round in measured for bytes_sent in of_round)
        assert all(part.bytes_received < 2000 for round_ in rounds for part in round_.participations)
        assert rounds[0].participations[0].update_norm == pytest.approx(3**0.5), "of what is trained"


async def test_a_client_that_joins_late_begins_with_its_own(database_url: str, tmp_path: Path) -> None:
    async with layered(tmp_path, database_url) as (running, first, second):
        one = SelectionConfig(strategy="random", min_clients=1, max_clients=1)
        training_id = await running.create(parameters=GROUPS, selection=one, evaluation_clients=0)
        later = (await running.system.clients.get("b")).profile
        await running.system.clients.remove("b")
        await running.run_round(training_id)
        await running.system.clients.remove("a")
        await running.system.clients.register(
            [("b", replace(later, auth_token="token-of-b"))]
        )  # it is stored encrypted
        await running.run_round(training_id)
    assert [given["bn"] for given in first.given] == [10.0]
    assert second.given == [{"w": 1.0, "bn": 20.0}], "the common weight of the first, and its own scale"


async def test_patterns_that_match_nothing_are_told(database_url: str, tmp_path: Path) -> None:
    async with layered(tmp_path, database_url) as (running, _, _):
        groups = ParameterGroups(local=("bn.*", "bm.*"), frozen=("embedding", "pos*"))
        training_id = await running.create(parameters=groups, statistics=("*.emma",))
        await running.run_round(training_id)
        await running.run_round(training_id)
        async with running.system.db.read() as tx:
            told = (await tx.events.after(0, training_id=training_id, limit=100)).items
        wanted = Unmatched(averaged=("*.emma",), local=("bm.*",), frozen=("pos*",))
        assert (await running.system.trainings.get(training_id)).unmatched == wanted
        fork = await running.system.trainings.fork(
            Start(training_id, None), lambda source: replace(source.config, statistics=())
        )
        assert fork.unmatched == replace(wanted, averaged=())
    unmatched = [event.data for event in told if event.type == "training.patterns_unmatched"]
    assert unmatched == [{"averaged": ["*.emma"], "local": ["bm.*"], "frozen": ["pos*"]}]


async def test_groups_that_leave_nothing_to_train_end_the_round_with_the_reason(
    database_url: str, tmp_path: Path
) -> None:
    async with layered(tmp_path, database_url) as (running, _, _):
        training_id = await running.create(parameters=ParameterGroups(local=("bn.*",), frozen=("?", "embedding")))
        round_ = await running.run_round(training_id)
        assert (round_.status, round_.participations) == ("abandoned", ())
        told = "parameters leave nothing to train: every tensor of the model matches"
        assert str(round_.failure_reason).startswith(told)
        for client_id in "ab":
            client = await running.system.clients.get(client_id)
            assert client.breaker.consecutive_failures == 0, "it is not to blame"
        async with running.system.db.begin() as tx:
            await tx.trainings.put(replace(await tx.trainings.get(training_id), status="failed"))
        await running.system.trainings.change(training_id, lambda training: replace(training.config, parameters=GROUPS))
        assert (await running.run_round(training_id)).status == "completed", "there is a way out"


async def _uploaded(running: Plane, training_id: str, parameters: Parameters) -> Any:
    async def body() -> AsyncIterator[bytes]:
        yield encode(parameters)

    return await running.system.models.upload(training_id, body())


async def test_an_uploaded_model_is_stored_without_local_tensors_or_refused(database_url: str, tmp_path: Path) -> None:
    async with layered(tmp_path, database_url) as (running, first, _):
        training_id = await running.create(parameters=GROUPS)
        with pytest.raises(Invalid, match="leave nothing to train") as caught:
            await _uploaded(running, training_id, {"bn.scale": np.ones(2, np.float32), "embedding": EMBEDDING})
        assert caught.value.pointer == "/parameters"
        await _uploaded(running, training_id, {**first.initial_parameters(), "w": np.full(3, 5.0, np.float32)})
        assert (await model(running, training_id, 0)).keys() == {"w", "embedding"}
        await running.run_round(training_id)
    assert first.given[0] == {"w": 5.0, "bn": 10.0}, "not the uploaded scale"


async def test_an_upload_follows_groups_that_change_meanwhile(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {}, clock=FakeClock(sleeping=Sleeping.SKIPS)) as running:
        training_id, loop, adopted = await running.create(clients=1), asyncio.get_running_loop(), []

        class Overtaken(RoundFiles):
            def adopt_initial(self, spool: ModelStore, received: StoredFile, config: TrainingConfig) -> FirstModel:
                first = super().adopt_initial(spool, received, config)
                adopted.append(first)
                if len(adopted) == 1:
                    changing = running.system.trainings.change(
                        training_id, lambda before: replace(before.config, parameters=GROUPS)
                    )
                    asyncio.run_coroutine_threadsafe(changing, loop).result()
                return first

        running.system.models._files = Overtaken(running.system.models._files.models, tmp_path / "spool")
        await _uploaded(running, training_id, Layered(1.0, 10.0).initial_parameters())
        assert (await model(running, training_id)).keys() == {"w", "embedding"}
        assert len(adopted) == 2
