"""The ends of each range of numbers that agents and callers may send: both databases give back what was stored."""

from typing import Any

import pytest

from app.domain.clients import Client, Measured, Profile
from app.domain.events.rounds import end_of, end_of_part
from app.domain.rounds import Participation
from app.domain.summaries import summaries
from app.domain.trainings import TrainingConfig
from app.store.database import Database
from tcsfeel.aggregation import UpdateFacts, update_quality
from tcsfeel.selection.sketches import SIZE
from tcsfeel.wire.tasks import LARGEST_LOSS, MOST_EXAMPLES, MOST_SECONDS, TaskResult, read_result, result_metadata
from tests.store.samples import a_round, client, training

SMALLEST = 5e-324
RESULTS = [
    TaskResult(num_examples=examples, loss=loss, accuracy=accuracy, train_seconds=seconds)
    for examples, loss, accuracy, seconds in (
        (1, LARGEST_LOSS, 0.0, MOST_SECONDS),
        (MOST_EXAMPLES, -LARGEST_LOSS, 1.0, 0.0),
        (MOST_EXAMPLES, LARGEST_LOSS, SMALLEST, SMALLEST),
        (1, SMALLEST, 1.0 - 2.0**-53, 1.0),
        (1, -0.0, 0.5, 1.0),
    )
]


async def test_results_and_their_means(db: Database) -> None:
    results = [read_result(result_metadata(result)) for result in RESULTS]
    assert results == RESULTS
    parts = tuple(
        Participation(
            client_id=str(number),
            status="received",
            num_examples=result.num_examples,
            loss=result.loss,
            accuracy=result.accuracy,
            metrics=result.metrics,
            score=update_quality(result.loss),
        )
        for number, result in enumerate(results)
    )
    facts = [UpdateFacts(result.num_examples, result.loss, result.metrics) for result in results]
    for number, measured in enumerate([facts, *([fact] for fact in facts), *([fact] * 50 for fact in facts)], 1):
        found = summaries(measured, TrainingConfig(name="t"))
        round_ = a_round(number=number, goal_value=found["loss"].mean, metrics=found, participations=parts)
        async with db.begin() as tx:
            if number == 1:
                await tx.trainings.add(training())
            await tx.rounds.add(round_)
            await tx.rounds.add_participations(round_)
            told = [*(end_of_part(round_, part) for part in parts), end_of(round_)]
            for event in told:
                await tx.events.append(event)
            assert (await tx.rounds.get("t", number)) == round_
        async with db.read() as tx:
            stored = (await tx.events.after(0, training_id="t", limit=1000)).items[-len(told) :]
        assert [(event.round, event.data) for event in stored] == [(number, event.data()) for event in told]


@pytest.mark.parametrize(
    "profile",
    [
        {"data_size": 10**12, "compute_capacity": 1e9, "bandwidth": 1e9, "latency": 1e9, "reliability": 1.0},
        {"data_size": 1, "compute_capacity": 1e-9, "bandwidth": 1e-9, "latency": SMALLEST, "reliability": SMALLEST},
        {"data_distribution": [0.0, SMALLEST, 1e-9, 1e15], "server_cost": 1e9},
        {"data_distribution": {"a": 1e15, "b": 1.0 / 3.0, "c": -0.0}, "server_cost": SMALLEST},
    ],
)
async def test_claims_and_averages_of_clients(db: Database, profile: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"data_size": 10, "compute_capacity": 1.0, "bandwidth": 8.0, "latency": 5.0}
    measured = Measured().observe(train_seconds=MOST_SECONDS, bandwidth=1e9, latency=1e9, last_update_quality=0.0)
    for observed in (0.0, 1e9, SMALLEST):
        measured = measured.observe(train_seconds=observed, bandwidth=observed, latency=observed, reliability=0.0)
    value: Client = client(profile=Profile(url="http://a", **(plain | profile)), measured=measured)
    async with db.begin() as tx:
        await tx.clients.add([value])
    async with db.read() as tx:
        assert await tx.clients.get("a") == value


@pytest.mark.parametrize("value", [0.0, 2.0, -2.0, 1.1754943508222875e-38])
async def test_sketches(db: Database, value: float) -> None:
    sketch = (value,) * SIZE
    async with db.begin() as tx:
        await tx.trainings.add(training())
        for _ in range(3):
            await tx.sketches.fold("t", {"a": sketch})
        assert await tx.sketches.means("t") == {"a": sketch}
