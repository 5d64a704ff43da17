"""A training that has ended goes on as if it had not.

Covers: app.services.trainings.trainings
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.goals import Goal
from tests.planes import Adder, Plane, plane, until
from tests.services.courses import events, has_status, is_driven_to_its_end, is_idle


async def completed(running: Plane, training_id: str) -> None:
    await until(lambda: is_driven_to_its_end(running, training_id))
    await until(lambda: is_idle(running))


@pytest.mark.untraced
@pytest.mark.parametrize("rule", ["fedavgm", "fedadam"])
async def test_the_optimiser_goes_on_as_if_the_training_had_not_ended(
    database_url: str, tmp_path: Path, rule: Aggregation
) -> None:
    async with plane(tmp_path, database_url, {"a": Adder(0.5)}, models={"removal_delay_seconds": 0.0}) as running:
        trainings = running.system.trainings
        whole = await running.create(aggregation=rule, max_rounds=4, goal=Goal())
        await trainings.start(whole)
        await completed(running, whole)
        extended = await running.create(aggregation=rule, max_rounds=2, goal=Goal())
        await trainings.start(extended)
        await completed(running, extended)
        await running.system.housekeeper.tick()  # which keeps what an extension needs
        config = (await trainings.get(extended)).config
        await trainings.extend(extended, lambda _: replace(config, max_rounds=4))
        await completed(running, extended)
        assert await has_status(running, extended, "completed")
        async with running.system.db.read() as tx:
            made = [[one.version.sha256 for one in await tx.models.kept(training)] for training in (whole, extended)]
        assert len(made[0]) == 5
        assert made[0] == made[1]
        told = [event.type for event in await events(running, extended) if event.type.startswith("training.")]
        assert told[-3:] == ["training.extended", "training.changed", "training.completed"]
