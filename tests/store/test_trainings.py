"""Trainings as rows, on both databases."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from app.domain.eligibility import Where
from app.domain.errors import NotFound
from app.domain.parameter_groups import ParameterGroups, Unmatched
from app.domain.progress import Progress
from app.domain.retention import Retention
from app.domain.trainings import Origin, RoundPolicy, SelectionConfig, Training, TrainingConfig, Uploads
from app.store.database import Database
from app.store.tables import trainings
from tcsfeel.aggregation.goals import Goal
from tcsfeel.schedules import ByRound, Cosine, Step
from tcsfeel.selection.types import Weights
from tests.lag import turns
from tests.store.samples import NOW, training, unsaid

FULL = Training(
    id="t",
    config=TrainingConfig(
        name="Größe\t1",
        goal=Goal(metric="rmse", mode="min", target=-0.5, patience=3, min_delta=0.25),
        max_rounds=7,
        aggregation="fedavgm",
        selection=SelectionConfig(
            strategy="random",
            min_clients=1,
            max_clients=2,
            budget_constraint=0.125,
            largest_multiple=1.5,
            weights=Weights(1.0, 2.0, 3.0, 4.0),
            parameters={"factor": 3.0, "half": 0.5},
        ),
        where=Where(tags={"a": "b"}, clients=("x",), exclude=("y", "z"), min_data_size=1, min_reliability=0.5),
        hyperparameters={"rate": 0.1, "epochs": 2**53, "on": True, "note": "x", "none": None, "whole": 1.0},
        round_policy=RoundPolicy(
            deadline_seconds=1.5,
            quorum=1.0,
            over_selection=1.3,
            grace_seconds=0.0,
            max_failed_rounds=1,
            max_wait_seconds=0.5,
        ),
        evaluation_clients=0,
        uploads=Uploads(encoding="int8", compression="zstd"),
        seed=2**53 - 1,
        retention=Retention(keep_last=2, keep_best=False),
        statistics=("*.ema", "stats/*"),
        parameters=ParameterGroups(local=("bn*",), frozen=("emb.*", "pos")),
        schedules={
            "hyperparameters.a": Step(init_value=0.1, gamma=0.5, step_size=2, end_value=1e-300, start=3),
            "hyperparameters.b": Cosine(init_value=-1e12, end_value=1 / 3, rounds=2**20),
            "hyperparameters.c.d": ByRound(values={1: 5, 12: 0.25}),
        },
    ),
    created_at=NOW,
    updated_at=NOW + 1,
    status="failed",
    stop_reason="too_many_failed_rounds",
    stop_detail="why",
    current_round=3,
    accuracy=0.25,
    best_accuracy=1 / 3,
    goal_value=-1e15,
    best_value=1e-9,
    best_round=2,
    plateau_value=0.1,
    plateau_rounds=1,
    model="a" * 64,
    stop_after=4,
    failed_in_row=2,
    next_round_at=NOW + 2,
    paused_at=NOW + 3,
    fence=5,
    progress=Progress("stalled", NOW + 4, "no space left"),
    outage_since=NOW + 5,
    origin=Origin(training_id="u", round=2, model="b" * 64, optimiser=True),
    unmatched=Unmatched(averaged=("*.emma",), local=("bm*",), frozen=("pos*",)),
    created_by="ops",
)


def test_the_sample_has_something_in_every_field() -> None:
    assert unsaid(FULL) == set()


@pytest.mark.parametrize("stored", [FULL, training()], ids=["every-field", "no-optional-field"])
async def test_a_training_comes_back_as_it_was_added(db: Database, stored: Training) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(stored)
    async with db.read() as tx:
        found = await tx.trainings.get("t")
    assert found == stored
    assert {name: type(value) for name, value in found.config.hyperparameters.items()} == {
        name: type(value) for name, value in stored.config.hyperparameters.items()
    }


async def test_a_training_of_a_version_that_knew_fewer_fields_has_their_defaults(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(FULL)
        await tx.connection.execute(update(trainings).values(config={"name": "old", "max_rounds": 3}))
        found = await tx.trainings.get("t")
    assert found.config == TrainingConfig(name="old", max_rounds=3)


async def test_the_statistics_of_a_training_that_knew_no_other_groups_stay(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(FULL)
        await tx.connection.execute(update(trainings).values(config={"name": "old", "statistics": ["*.ema"]}))
        found = await tx.trainings.get("t")
    assert found.config == TrainingConfig(name="old", statistics=("*.ema",))


async def test_put_writes_all_but_the_configuration_what_it_came_from_and_the_lease(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training())
        await tx.trainings.put(FULL)
        found = await tx.trainings.get("t", for_update=True)
    assert found == replace(FULL, config=training().config, origin=None, created_by=None, fence=0)


async def test_what_is_not_there_is_not_found(db: Database) -> None:
    async with db.begin() as tx:
        with pytest.raises(NotFound):
            await tx.trainings.get("t")
        with pytest.raises(NotFound):
            await tx.trainings.get("t", for_update=True)


async def test_pages_are_newest_first_and_ids_break_ties(db: Database) -> None:
    made = [training("a", created_at=NOW), training("b", created_at=NOW + 1), training("c", created_at=NOW)]
    async with db.begin() as tx:
        for one in made:
            await tx.trainings.add(one)
    async with db.read() as tx:
        first = (await tx.trainings.page(limit=2, after=None)).items
        assert [one.id for one in first] == ["b", "c"]
        second = (await tx.trainings.page(limit=2, after=(first[-1].created_at, first[-1].id))).items
        assert [one.id for one in second] == ["a"]
        assert (await tx.trainings.page(limit=2, after=(NOW, "a"))).items == []


async def test_a_page_of_trainings_with_long_settings_ends_early_and_leaves_others_their_turn(db: Database) -> None:
    settings = {f"key-{number:03}": "x" * 1024 for number in range(200)}  # which weigh 200 000
    stored = [
        training(f"t{number}", config=TrainingConfig(name="long", hyperparameters=settings), created_at=NOW + number)
        for number in range(6)
    ]
    async with db.begin() as tx:
        for one in stored:
            await tx.trainings.add(one)
    async with db.read() as tx, turns() as counted:
        whole = await tx.trainings.page(limit=6, after=None)
    assert (whole.items, whole.more) == (stored[::-1], False)
    assert counted.number >= 6
    async with db.read() as tx:
        first = await tx.trainings.page(limit=6, after=None, most_bytes=500_000)
        assert (first.items, first.more) == (stored[:2:-1], True)
        rest = await tx.trainings.page(limit=6, after=(NOW + 3, "t3"), most_bytes=5_000_000)
        assert (rest.items, rest.more) == (stored[2::-1], False)


async def test_the_trainings_of_a_creator_that_have_not_ended_are_counted(db: Database) -> None:
    async with db.begin() as tx:
        for number, status in enumerate(("created", "running", "paused", "completed", "failed", "cancelled")):
            await tx.trainings.add(training(str(number), status=status, created_by="ops"))
        await tx.trainings.add(training("other", created_by="ci"))
        await tx.trainings.add(training("old"))
        assert [await tx.trainings.count_open(name) for name in ("ops", "ci", "nobody")] == [3, 1, 0]
