"""Clients that do not say which labels they hold become known by their updates, in real trainings."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits
from sqlalchemy import select, update

from app.demo import mlp
from app.domain.rounds import Round
from app.domain.tasks import Observation
from app.domain.trainings import SelectionConfig
from app.store.leases import Fenced, Lease
from app.store.tables import sketches, trainings
from app.store.transaction import Transaction
from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Task
from tcsfeel.selection.sketches import sketch
from tcsfeel.wire.codec import decode
from tests.planes import Adder, Plane, plane, policy

PAIRS = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]


class Pupil(Adder):
    """Learns digits of two classes."""

    def __init__(self, inputs: npt.NDArray[np.float32], labels: npt.NDArray[np.intp]) -> None:
        super().__init__(examples=len(labels))
        self.inputs, self.labels = inputs, labels

    def initial_parameters(self) -> Parameters:
        return mlp.initial(np.random.default_rng(0))

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        rng = np.random.default_rng(task.round)
        found = mlp.train(parameters, self.inputs, self.labels, epochs=1, rate=0.1, batch=10, rng=rng)
        return FitResult(found, self.examples, *mlp.measure(found, self.inputs, self.labels))

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:  # noqa: ARG002  (of the protocol)
        return EvaluateResult(self.examples, *mlp.measure(parameters, self.inputs, self.labels))


def pupils() -> dict[str, Pupil]:
    """Two clients for each of `PAIRS`, with 60 digits of its two classes each: "0a" and "0b" hold zeros and ones."""
    digits = load_digits()
    inputs, labels = (digits.data / 16).astype(np.float32), digits.target.astype(np.intp)
    found: dict[str, Pupil] = {}
    for number, pair in enumerate(PAIRS):
        rows = np.flatnonzero(np.isin(labels, pair))[:120]
        found |= {
            f"{number}{twin}": Pupil(inputs[part], labels[part])
            for twin, part in zip("ab", (rows[::2], rows[1::2]), strict=True)
        }
    return found


async def create(running: Plane, *, per_round: int, **fields: Any) -> str:
    selection = SelectionConfig(min_clients=per_round, max_clients=per_round)
    return await running.create(selection=selection, evaluation_clients=0, **fields)


async def stored(running: Plane, training_id: str) -> dict[str, int]:
    """How many rounds each client's sketch is the mean of."""
    query = select(sketches.c.client_id, sketches.c.rounds).where(sketches.c.training_id == training_id)
    async with running.system.db.read() as tx:
        return {row.client_id: row.rounds for row in await tx.connection.execute(query)}


def received(rounds: list[Round]) -> dict[str, int]:
    """How often each client's update was."""
    came = [part.client_id for round_ in rounds for part in round_.participations if part.status == "received"]
    return {client_id: came.count(client_id) for client_id in came}


async def test_clients_without_labels_are_explored_and_then_chosen_for_what_they_hold(
    database_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, database_url, pupils()) as running:
        training_id = await create(running, per_round=5)
        rounds = [await running.run_round(training_id) for _ in range(7)]

        assert len(received(rounds[:2])) == 10, "everybody had a turn within N / K rounds"
        assert await stored(running, training_id) == received(rounds)
        for round_ in rounds[3:]:
            pairs = {client_id[0] for client_id in round_.selected_clients}
            assert pairs == {"0", "1", "2", "3", "4"}, "one of each pair of twins"


async def test_a_sketch_is_that_of_the_step_from_the_rounds_model_to_the_update(
    sqlite_url: str, tmp_path: Path
) -> None:
    trainers = pupils()
    async with plane(tmp_path, sqlite_url, {"0a": trainers["0a"], "1a": trainers["1a"]}) as running:
        training_id = await create(running, per_round=2)
        await running.run_round(training_id)
        model = decode((await running.system.models.get(training_id, 0)).path.read_bytes())[0]
        async with running.system.db.read() as tx:
            means = await tx.sketches.means(training_id)
    for client_id, mean in means.items():
        task = Task(id="t", kind="fit", training_id=training_id, round=1, deadline_seconds=60.0)
        expected = sketch(model, trainers[client_id].fit(model, task).parameters)
        assert np.allclose(mean, expected or (), atol=1e-4)
    assert means.keys() == {"0a", "1a"}


async def test_nothing_is_guessed_of_who_reports_nor_learnt_from_updates_that_do_not_count(
    sqlite_url: str, tmp_path: Path
) -> None:
    trainers: Mapping[str, Adder] = {name: Adder() for name in ("reports", "silent", "still", "boasts", "fails")}
    trainers["still"].step = 0.0
    trainers["fails"].problem = RuntimeError("disk on fire")
    async with plane(tmp_path, sqlite_url, trainers) as running:
        await running.system.clients.change("reports", {"data_distribution": [1, 2]})
        trainers["boasts"].examples = 10 * 10 + 1
        training_id = await create(running, per_round=5, round_policy=policy(quorum=0.5))
        round_ = await running.run_round(training_id)

        assert {part.client_id: part.status for part in round_.participations} == {
            "reports": "received", "silent": "received", "still": "received", "boasts": "rejected", "fails": "failed"
        }  # fmt: skip
        assert await stored(running, training_id) == {"silent": 1}


async def test_a_sketch_is_folded_in_once_whatever_comes_again_or_late(database_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder() for name in ("came", "failed")}
    trainers["failed"].problem = RuntimeError("disk on fire")
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await create(running, per_round=2, round_policy=policy(quorum=0.5))
        round_ = await running.run_round(training_id)
        await running.system.trainings.start(training_id)
        async with running.system.db.begin() as tx:
            before = await tx.sketches.means(training_id)
            first, second = [await claimed(tx) for _ in range(2)]
        ledger = running.system.coordinator._engine._ledger
        seen = Observation(sketch=(0.5,) * 32)
        for part in round_.participations:
            again = replace(part, status="received")
            assert not await ledger.settled(second, round_, again, seen), "it has come to its end before"
            with pytest.raises(Fenced):
                await ledger.settled(first, round_, again, seen)
        async with running.system.db.read() as tx:
            assert await tx.sketches.means(training_id) == before
        assert await stored(running, training_id) == {"came": 1}


async def claimed(tx: Transaction) -> Lease:
    """The lease of the one training, taken from whoever has it."""
    await tx.connection.execute(update(trainings).values(lease_until=0.0))
    claim = await tx.leases.claim("somebody", 10.0)
    assert claim is not None
    return claim.lease
