"""How many statements and transactions a round takes: its owner does not read what it has stored itself.

Covers: app.services.rounds.known
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.sharing import current_party
from app.store.database import Database
from tests.planes import Adder, plane, until
from tests.services.courses import is_driven_to_its_end

CLIENTS = 10
BESIDES = 4  # transactions of a round besides those that settle its participations, and one that tells agents to forget
STATEMENTS = 36  # of a round of ten clients whose updates come together


@contextmanager
def transactions(db: Database, training_id: str) -> Iterator[list[list[str]]]:
    """Note the statements of each transaction of a training, of those that write and those that read."""
    seen: list[list[str]] = []
    engines: set[AsyncEngine] = {db._writers, db._readers}

    def begin(_connection: object) -> None:
        if current_party() == training_id:
            seen.append([])

    def note(_connection: object, _cursor: object, statement: str, *_rest: Any) -> None:
        if current_party() == training_id and not statement.startswith("BEGIN"):
            seen[-1].append(statement)

    for engine in engines:
        event.listen(engine.sync_engine, "begin", begin)
        event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine.sync_engine, "begin", begin)
        event.remove(engine.sync_engine, "before_cursor_execute", note)


async def test_a_round_takes_few_statements_and_transactions(database_url: str, tmp_path: Path) -> None:
    trainers = {f"c{number}": Adder() for number in range(CLIENTS)}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(evaluation_clients=0, max_rounds=3)
        with transactions(running.system.coordinator._db, training_id) as seen:
            await running.system.trainings.start(training_id)
            await until(lambda: is_driven_to_its_end(running, training_id))
    begun = [at for at, one in enumerate(seen) if any(text.startswith("INSERT INTO rounds") for text in one)]
    second = seen[begun[1] : begun[2]]
    settling = [one for one in second if any(text.startswith("UPDATE participations") for text in one)]
    others = [one for one in second if one not in settling]
    assert settling
    assert len(others) <= BESIDES
    assert sum(map(len, others)) + len(settling[0]) <= STATEMENTS
