"""A finite update that would wreck the mean: it is found before it reaches the model, and its sender is blamed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.rounds import Round
from app.domain.trainings import SelectionConfig
from app.services.rounds.ledger import RoundLedger
from app.store.leases import Lease
from tcsfeel.aggregation.config import Aggregation
from tests.planes import Adder, Plane, plane, policy
from tests.services.courses import parts, statuses

OPENS_AFTER = 3  # rounds in a row in which its update was rejected
RULES: tuple[Aggregation, ...] = ("fedavg", "fedavgm", "fedadam", "fedadagrad")


def trainers(far: float) -> dict[str, Adder]:
    return {"a": Adder(1.0), "b": Adder(1.0), "c": Adder(1.0), "far": Adder(far)}


async def create(running: Plane, rule: Aggregation = "fedadam", **fields: Any) -> str:
    given: dict[str, Any] = {
        "aggregation": rule,
        "selection": SelectionConfig(strategy="random", min_clients=1, max_clients=4),
        "round_policy": policy(quorum=0.5),
        "evaluation_clients": 0,
    }
    return await running.create(**(given | fields))


@pytest.mark.parametrize("far", [1e30, 1e14])
async def test_a_training_goes_on_without_the_one_that_runs_away(database_url: str, tmp_path: Path, far: float) -> None:
    async with plane(tmp_path, database_url, trainers(far)) as running:
        training_id = await create(running)
        for number in range(1, 5):
            round_ = await running.run_round(training_id)
            assert (round_.status, round_.failure_reason) == ("completed", None)
            assert abs(await running.weight(training_id, number)) < 2.0
            wanted = {"a": "received", "b": "received", "c": "received"}  # and once its breaker is open, no other
            assert statuses(round_) == wanted | ({"far": "rejected"} if number <= OPENS_AFTER else {})
        client = await running.system.clients.get("far")
        assert client.measured.reliability is not None
        assert client.measured.reliability < 0.9
        assert client.rounds_completed == 0
        failures = client.breaker.last_failures
        assert failures
        assert all(
            "too far from the model" in one.reason or "far larger than the others" in one.reason for one in failures
        )


@pytest.mark.parametrize("rule", RULES)
async def test_an_outlier_is_named_with_its_numbers(sqlite_url: str, tmp_path: Path, rule: Aggregation) -> None:
    # the norms of (1, 1, 1) and (1e14, 1e14, 1e14)
    async with plane(tmp_path, sqlite_url, trainers(1e14)) as running:
        training_id = await create(running, rule)
        round_ = await running.run_round(training_id)
        far = parts(round_)["far"]
        assert far.status == "rejected"
        assert far.update_norm == pytest.approx(1e14 * 3**0.5, rel=1e-6)
        assert far.reason == "its update is far larger than the others: norm 1.73e+14, the round's median is 1.73"
        async with running.system.db.read() as tx:
            events = [
                (event.type, event.data.get("reason"))
                for event in (await tx.events.after(0, training_id=training_id, limit=100)).items
                if event.client_id == "far"
            ]
        assert events == [("participation.received", None), ("participation.rejected", far.reason)]


async def test_a_round_without_a_quorum_of_sound_updates_is_abandoned_and_says_whose_were_not(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, sqlite_url, trainers(1e14)) as running:
        round_ = await running.run_round(await create(running, round_policy=policy(quorum=1.0)))
        reason = "3 updates are left without those that were rejected (far), the quorum is 4"
        assert (round_.status, round_.failure_reason) == ("abandoned", reason)
        assert statuses(round_)["far"] == "rejected"


async def test_a_client_whose_every_update_is_rejected_loses_its_permit_however_well_it_evaluates(
    database_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, database_url, trainers(1e14)) as running:
        training_id = await create(running, evaluation_clients=4)
        for number in range(1, OPENS_AFTER + 1):  # failed, ok, failed, ok, failed: more than half of five calls
            round_ = await running.run_round(training_id)
            assert statuses(round_)["far"] == "rejected"
            assert [one.status for one in round_.evaluations] == ["received"] * (4 if number < OPENS_AFTER else 3)
        client = await running.system.clients.get("far")
        assert client.breaker.state == "open"
        assert client.measured.reliability == pytest.approx(0.9 * 0.7**OPENS_AFTER)


class Dying(RoundLedger):
    """Stores what was rejected, and then the process dies: the next owner begins the step again."""

    deaths = 0

    async def rejected(self, lease: Lease, round_: Round, reasons: Any) -> Round:
        await super().rejected(lease, round_, reasons)
        self.deaths += 1
        raise OSError("the process died")


async def test_the_next_owner_decides_the_same_and_blames_nobody_twice(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, trainers(1e14)) as running:
        engine = running.system.coordinator._engine
        sound = engine._ledger
        engine._ledger = dying = Dying.__new__(Dying)
        dying.__dict__.update(sound.__dict__)
        round_ = await running.run_round(await create(running, "fedavg"))
        assert (round_.status, dying.deaths) == ("completed", 1)
        assert statuses(round_) == {"a": "received", "b": "received", "c": "received", "far": "rejected"}
        client = await running.system.clients.get("far")
        assert len(client.breaker.last_failures) == 1
        assert client.measured.reliability == pytest.approx(0.7 * 0.9), "as if it had never been received"


class Half(Adder):
    """Trains a float16 model, whose momentum leaves the dtype."""

    def initial_parameters(self) -> dict[str, Any]:
        return {"w": np.zeros(3, np.float16)}


async def test_a_model_that_overflows_names_the_longest_update(sqlite_url: str, tmp_path: Path) -> None:
    trainers: dict[str, Adder] = {"a": Half(), "b": Half()}
    trainers["a"].returns = {"w": np.full(3, 30000, np.float16)}
    trainers["b"].returns = {"w": np.full(3, 20000, np.float16)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        own = {"server_learning_rate": 1000.0}
        round_ = await running.run_round(await create(running, "fedavgm", hyperparameters=own))
        assert round_.status == "abandoned"
        longest = "the longest update is that of client 'a', with a norm of 5.2e+04"
        assert round_.failure_reason == f"tensor 'w' of the new model is not finite; {longest}"
