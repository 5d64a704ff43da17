"""SCAFFOLD from the server to the devices and back, with what is lost on the way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.eligibility import Where
from app.domain.trainings import Uploads
from tcsfeel.agent import FitResult, Parameters, Task
from tcsfeel.schedules import Step
from tcsfeel.wire.codec import decode, encode
from tcsfeel.wire.tasks import TaskResult, result_metadata
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import is_driven_to_its_end, is_idle, parts, statuses
from tests.services.rounds.foreign import Foreign, join
from tests.services.rounds.test_resuming import killed
from tests.tcsfeel.scaffold import Bowl, by_the_paper

RATE = 0.1
SCAFFOLD: dict[str, Any] = {"aggregation": "scaffold", "hyperparameters": {"learning_rate": RATE}}
A, B = Bowl(0.0, steps=2), Bowl(10.0, steps=5, examples=1000)


class Rolling(Adder):
    """Rolls down a bowl; fails where an `Adder` does."""

    def __init__(self, bowl: Bowl) -> None:
        super().__init__(examples=bowl.examples)
        self.bowl = bowl

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        super().fit(parameters, task)
        return self.bowl.fit(parameters, task)


def rolling() -> dict[str, Adder]:
    return {"a": Rolling(A), "b": Rolling(B)}


async def control(running: Plane, training_id: str, number: int) -> float:
    """The first value of the server's control variate after a round."""
    state = (await running.system.models.get(training_id, number)).version.optimiser_state
    assert state is not None
    return float(decode((running.system.settings.model_directory / state).read_bytes())[0]["w"][0])


async def has_trained(trainer: Adder, times: int) -> bool:
    return len(trainer.fitted) >= times


async def assert_as_by_the_paper(
    running: Plane, training_id: str, number: int, rounds: list[list[int]], rates: float | list[float] = RATE
) -> None:
    model, variate = by_the_paper([A, B], rounds, rates)
    assert await running.weight(training_id, number) == pytest.approx(model[0], rel=1e-5)
    assert await control(running, training_id, number) == pytest.approx(variate[0], rel=1e-5)


async def test_rounds_of_all_are_those_of_the_paper(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, rolling()) as running:
        training_id = await running.create(**SCAFFOLD)
        for number in range(1, 4):
            round_ = await running.run_round(training_id)
            assert {part.client_id: part.num_steps for part in round_.participations} == {"a": 2, "b": 5}
            await assert_as_by_the_paper(running, training_id, number, [[0, 1]] * number)


async def test_clients_that_cannot_be_selected_do_not_count(sqlite_url: str, tmp_path: Path) -> None:
    others = {"isolated": Adder(examples=10**12), "other": Adder(examples=10**12)}
    async with plane(tmp_path, sqlite_url, {**rolling(), **others}) as running:
        await running.system.breakers.isolate("isolated")
        where = Where(clients=("a", "b", "isolated"))
        training_id = await running.create(clients=2, where=where, **SCAFFOLD)
        for _ in range(2):
            await running.run_round(training_id)
        await assert_as_by_the_paper(running, training_id, 2, [[0, 1]] * 2)


async def test_a_learning_rate_that_changes_in_a_round_is_that_of_the_next_one(sqlite_url: str, tmp_path: Path) -> None:
    trainers = rolling()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(**SCAFFOLD, max_rounds=3, evaluation_clients=0)
        await running.run_round(training_id)
        trainers["b"].open.clear()
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: has_trained(trainers["b"], 2))
        await running.system.trainings.pause(training_id)
        await until(lambda: is_idle(running))
        await running.system.trainings.change(
            training_id, lambda before: replace(before.config, hyperparameters={"learning_rate": RATE / 2})
        )
        trainers["b"].open.set()
        await running.system.trainings.start(training_id, "resume")
        await until(lambda: is_driven_to_its_end(running, training_id))
        await assert_as_by_the_paper(running, training_id, 2, [[0, 1]] * 2)
        await assert_as_by_the_paper(running, training_id, 3, [[0, 1]] * 3, [RATE, RATE, RATE / 2])


async def test_the_control_variates_follow_the_learning_rate_of_each_round(sqlite_url: str, tmp_path: Path) -> None:
    falling = {"hyperparameters.learning_rate": Step(init_value=RATE, gamma=0.5, step_size=1)}
    async with plane(tmp_path, sqlite_url, rolling()) as running:
        training_id = await running.create(aggregation="scaffold", schedules=falling)
        rates = [RATE, RATE / 2, RATE / 4]
        for number in range(1, 4):
            await running.run_round(training_id)
            await assert_as_by_the_paper(running, training_id, number, [[0, 1]] * number, rates[:number])


async def test_who_failed_keeps_the_control_variate_that_the_server_has_counted(
    database_url: str, tmp_path: Path
) -> None:
    trainers = rolling()
    async with plane(tmp_path, database_url, trainers) as running:
        policies = policy(quorum=0.5)
        training_id = await running.create(**SCAFFOLD, round_policy=policies, evaluation_clients=0)
        await running.run_round(training_id)
        trainers["b"].problem = TypeError("no power")
        assert statuses(await running.run_round(training_id)) == {"a": "received", "b": "failed"}
        trainers["b"].problem = None
        await running.run_round(training_id)
        await assert_as_by_the_paper(running, training_id, 3, [[0, 1], [0], [0, 1]])


async def test_an_abandoned_round_does_not_count_at_the_devices_either(sqlite_url: str, tmp_path: Path) -> None:
    trainers = rolling()
    async with plane(tmp_path, sqlite_url, trainers) as running:
        training_id = await running.create(**SCAFFOLD, round_policy=policy(), evaluation_clients=0)
        await running.run_round(training_id)
        trainers["b"].problem = TypeError("no power")
        assert (await running.run_round(training_id)).status == "abandoned"
        assert len(trainers["a"].fitted) == 2, "it has trained in vain"
        trainers["b"].problem = None
        await running.run_round(training_id)
        await assert_as_by_the_paper(running, training_id, 3, [[0, 1], [0, 1]])


@pytest.mark.parametrize(
    "uploads", [Uploads(encoding="int8"), Uploads(encoding="float16", compression="zstd")], ids=["int8", "float16"]
)
async def test_smaller_uploads_go_along(sqlite_url: str, tmp_path: Path, uploads: Uploads) -> None:
    async with plane(tmp_path, sqlite_url, rolling()) as running:
        training_id = await running.create(**SCAFFOLD, uploads=uploads)
        for _ in range(3):
            await running.run_round(training_id)
        model, variate = by_the_paper([A, B], [[0, 1]] * 3, RATE)
        assert await running.weight(training_id, 3) == pytest.approx(model[0], rel=5e-3)
        assert await control(running, training_id, 3) == pytest.approx(variate[0], rel=5e-3)


@pytest.mark.untraced
@pytest.mark.parametrize(("when", "name"), [("after", "planned"), ("before", "committed"), ("after", "committed")])
async def test_the_control_variates_survive_their_coordinator(
    database_url: str, tmp_path: Path, when: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plane(tmp_path, database_url, rolling()) as first:
        undisturbed = await first.create(**SCAFFOLD)
        for _ in range(3):
            await first.run_round(undisturbed)

        training_id = await first.create(**SCAFFOLD, max_rounds=3)
        await first.run_round(training_id)
        await killed(first, training_id, monkeypatch, when, name)
        async with plane(tmp_path, database_url, rolling(), host=first.host, register=False) as second:
            await until(lambda: is_driven_to_its_end(second, training_id))
            for number in range(4):
                wanted = (await second.system.models.get(undisturbed, number)).version
                found = (await second.system.models.get(training_id, number)).version
                assert found.sha256 == wanted.sha256
            assert await control(second, training_id, 3) == await control(second, undisturbed, 3) != 0.0


async def test_lost_control_variates_abandon_the_round(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, rolling()) as running:
        training_id = await running.create(**SCAFFOLD)
        await running.run_round(training_id)
        state = (await running.system.models.get(training_id, 1)).version.optimiser_state
        assert state is not None
        (running.system.settings.model_directory / state).unlink()
        round_ = await running.run_round(training_id)
        reason = f"the state of the server optimiser is missing: there is no model file {state!r}"
        assert (round_.status, round_.failure_reason) == ("abandoned", reason)
        assert statuses(round_) == {"a": "skipped", "b": "skipped"}


async def test_a_model_without_room_for_control_variates_abandons_the_round(sqlite_url: str, tmp_path: Path) -> None:
    class Odd(Adder):
        def initial_parameters(self) -> Parameters:
            return {"control/w": np.zeros(3, np.float32)}

    async with plane(tmp_path, sqlite_url, {"a": Odd()}) as running:
        round_ = await running.run_round(await running.create(**SCAFFOLD))
        assert round_.failure_reason == (
            "the model cannot be trained with SCAFFOLD: tensor 'control/w' has the name of a control variate"
        )
        assert (await running.system.clients.get("a")).breaker.consecutive_failures == 0, "it is not to blame"


async def test_a_trainer_without_corrections_is_told_so_and_not_asked_again(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {**rolling(), "c": Adder(1.0)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        policies = policy(quorum=0.5)
        round_ = await running.run_round(await running.create(**SCAFFOLD, round_policy=policies))
        failed = parts(round_)["c"]
        assert (failed.status, failed.attempts) == ("failed", 1)
        assert "the training uses SCAFFOLD, but fit did not read task.correction" in str(failed.reason)


@pytest.mark.parametrize(
    ("tensors", "steps", "reason"),
    [
        (["w"], None, "its result has no num_steps, by which the aggregation rule 'scaffold' divides updates"),
        (["w", "control/w"], 3, "its tensors are not the model's: missing [], unknown ['control/w']"),
        (["control/w"], 3, "its tensors are not the model's: missing ['w'], unknown ['control/w']"),
    ],
)
async def test_what_another_agent_may_send_wrongly(
    sqlite_url: str, tmp_path: Path, tensors: list[str], steps: int | None, reason: str
) -> None:
    def answer(parameters: Parameters, _task: Task) -> tuple[bytes, Any]:
        assert set(parameters) == {"w", "control/w"}
        result = TaskResult(num_examples=10, loss=1.0, accuracy=0.5, num_steps=steps)
        body = encode({name: np.ones(3, np.float32) for name in tensors}, result_metadata(result))
        return body, {}

    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        join(running, "a", Foreign(answer))
        round_ = await running.run_round(await running.create(**SCAFFOLD, round_policy=policy()))
        part = parts(round_)["a"]
        assert part.status == "rejected"
        assert str(part.reason).startswith(reason)
