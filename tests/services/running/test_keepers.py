"""What it costs to hold many leases: the keepers of all trainings look together."""

from pathlib import Path

from sqlalchemy import event

from app.domain.trainings import SelectionConfig
from tests.planes import Adder, plane, until

TRAININGS = 20


async def test_the_leases_of_all_trainings_are_looked_at_in_one_query(database_url: str, tmp_path: Path) -> None:
    trainer = Adder()
    trainer.open.clear()
    one = SelectionConfig(strategy="random", min_clients=1, max_clients=1)
    trainers = {f"c{number:02}": trainer for number in range(TRAININGS)}
    asked: list[int] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if "trainings.fence" in statement and " IN (" in statement and statement.lstrip().startswith("SELECT"):
            asked.append(len(parameters))  # type: ignore[arg-type]  # one for each training

    coordinator = {"enabled": False, "tick_seconds": 0.2, "lease_seconds": 600}
    async with plane(tmp_path, database_url, trainers, coordinator=coordinator) as running:
        for _ in range(TRAININGS):
            await running.system.trainings.start(await running.create(selection=one, max_rounds=1))
        await running.drive()
        coordinator_db = running.system.coordinator._db
        event.listen(coordinator_db._readers.sync_engine, "before_cursor_execute", note)

        async def many_are_looked_at_together() -> bool:
            return max(asked, default=0) > TRAININGS // 2

        await until(many_are_looked_at_together)
