"""Trainings in which not every client may train."""

from pathlib import Path

from app.domain.eligibility import Where
from app.domain.trainings import SelectionConfig
from tests.planes import Adder, plane, policy
from tests.services.courses import parts


async def test_only_clients_that_meet_the_conditions_train_and_others_are_skipped_with_the_reason(
    database_url: str, tmp_path: Path
) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(1.0, examples=5), "c": Adder(1.0)}
    async with plane(tmp_path, database_url, trainers) as running:
        where = Where(exclude=("c",), min_data_size=6)
        rules = SelectionConfig(strategy="random", min_clients=1, max_clients=3)
        training_id = await running.create(where=where, selection=rules)
        round_ = await running.run_round(training_id)
        selection = await running.system.selections.of_round(training_id, 1)
    assert set(parts(round_)) == {"a"}
    assert {skipped.client_id: skipped.reason for skipped in selection.skipped} == {
        "b": "it has 5 samples, and the training asks for 6",
        "c": "the training excludes it",
    }


async def test_a_round_for_which_too_few_may_train_names_those_that_it_asks_for(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0), "b": Adder(1.0)}) as running:
        where = Where(tags={"site": "north"}, clients=("a",))
        training_id = await running.create(where=where, round_policy=policy(max_wait_seconds=0.0))
        round_ = await running.run_round(training_id)
    assert round_.status == "abandoned"
    assert "a: it does not have the tag site:north that the training asks for" in str(round_.failure_reason)
    assert str(round_.failure_reason).endswith(
        "; and 1 more (1 x it is not one of the clients that the training names)"
    )
