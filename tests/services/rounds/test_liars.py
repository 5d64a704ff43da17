"""One client that claims to have more data than all others together: it neither makes the model nor the measurement."""

from dataclasses import replace
from pathlib import Path

import pytest

from tcsfeel.agent import EvaluateResult, Parameters, Task
from tcsfeel.aggregation.goals import Goal
from tcsfeel.contract.rounds import RoundOut
from tests.planes import Adder, plane
from tests.services.courses import statuses


class Liar(Adder):
    """Claims 10^12 examples, goes its own way, and says that the model is all but perfect."""

    def __init__(self) -> None:
        super().__init__(5.0, examples=10**12)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        return replace(super().evaluate(parameters, task), accuracy=0.999999)


async def test_one_of_ten_has_three_tenths_of_the_weight_at_most(database_url: str, tmp_path: Path) -> None:
    trainers: dict[str, Adder] = {f"honest-{number}": Adder(1.0) for number in range(9)} | {"liar": Liar()}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(goal=Goal(target=0.963))
        round_ = await running.run_round(training_id)
        assert set(statuses(round_).values()) == {"received"}
        # 0.7 * 1 + 0.3 * 5; nine say 0.22 of it
        assert await running.weight(training_id) == pytest.approx(2.2)
        assert round_.average_accuracy == pytest.approx(0.7 * 0.22 + 0.3 * 0.62)  # it is believed 0.4 more than others
        assert (await running.system.trainings.get(training_id)).status == "paused"  # and not completed


async def test_one_of_six_does_not_end_a_training(database_url: str, tmp_path: Path) -> None:
    trainers: dict[str, Adder] = {f"honest-{number}": Adder(1.0) for number in range(5)} | {"liar": Liar()}
    trainers["liar"].step = 1.0
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(goal=Goal(target=0.25), max_rounds=1)
        await running.system.trainings.start(training_id)
        await running.drive()
        round_ = await running.ended(training_id, 1)
        # five say 0.1; the liar has half of the weight, and is believed 0.4 more
        assert round_.average_accuracy == pytest.approx(0.3)
        assert RoundOut.of(round_).model_dump()["target_doubt"] == {"client_id": "liar", "mean": pytest.approx(0.1)}
        training = await running.system.trainings.get(training_id)
        assert training.stop_reason == "max_rounds"
        assert str(training.stop_detail).endswith("and was not reached without the measurement of one client")
        async with running.system.db.read() as tx:
            told = (await tx.events.after(0, training_id=training_id, limit=100)).items
        assert [
            (event.client_id, event.round, event.data) for event in told if event.type == "round.target_doubted"
        ] == [("liar", 1, {"value": pytest.approx(0.3), "without": pytest.approx(0.1)})]
