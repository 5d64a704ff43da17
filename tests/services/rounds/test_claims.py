"""What a client claims does not count for more than what the rounds of a real training have shown of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.domain.trainings import SelectionConfig
from tcsfeel.selection.random import random
from tcsfeel.selection.types import Candidate, Selection
from tests.planes import Adder, Plane, plane
from tests.plugins import PLUGIN, strategy

pytestmark = pytest.mark.untraced

LIMIT = 8  # twice the fair share of 4 in the newest 4 * 5 places


async def running_often(running: Plane, training_id: str, rounds: int) -> list[str]:
    return [(await running.run_round(training_id)).selected_clients[0] for _ in range(rounds)]


def trainers() -> Mapping[str, Adder]:
    """The documented strategy prefers the client with most data."""
    return {"a": Adder(examples=19), **{name: Adder(examples=10) for name in "bcde"}}


async def create(running: Plane, largest_multiple: float | None) -> str:
    rules = SelectionConfig(strategy="documented", min_clients=1, max_clients=1, largest_multiple=largest_multiple)
    return await running.create(selection=rules, evaluation_clients=0)


async def test_a_client_that_is_always_preferred_waits_and_the_round_says_why(
    database_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, database_url, trainers()) as running:
        training_id = await create(running, largest_multiple=2.0)
        first = await running_often(running, training_id, LIMIT)
        assert len({*first}) == 1
        preferred = first[0]
        (ninth,) = await running_often(running, training_id, 1)
        assert ninth != preferred
        selection = await running.system.selections.of_round(training_id, LIMIT + 1)
        reasons = {one.client_id: one.reason for one in selection.skipped}
        assert reasons[preferred] == (
            "it was selected in 8 of the last 8 rounds, and its share of the places allows no more than 8"
        )


async def test_a_training_without_a_limit_selects_it_in_every_round(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, trainers()) as running:
        training_id = await create(running, largest_multiple=None)
        assert len({*await running_often(running, training_id, LIMIT + 2)}) == 1


async def test_a_client_counts_with_the_examples_that_it_trained_on_instead_of_those_that_it_claims(
    database_url: str, tmp_path: Path
) -> None:
    seen: list[dict[str, int]] = []

    def watching(candidates: list[Candidate], *arguments: Any) -> Selection:
        seen.append({one.client_id: one.data_size for one in candidates})
        return random(candidates, *arguments)

    fleet = {name: Adder(examples=100) for name in ("boasts", "honest")}
    async with plane(tmp_path, database_url, fleet) as running:
        rules = SelectionConfig(strategy=PLUGIN, min_clients=2, max_clients=2)
        with strategy(watching):
            training_id = await running.create(selection=rules, evaluation_clients=0)
            for examples in (7, 8, 9):
                fleet["boasts"].examples = examples
                await running.run_round(training_id)
            await running.run_round(await running.create(selection=rules, evaluation_clients=0))
    claimed = {"boasts": 100, "honest": 100}
    # a training plans twice in its first round: before it has asked a client for its first model, and after
    assert seen == [claimed, claimed, claimed | {"boasts": 7}, claimed | {"boasts": 8}, claimed, claimed]
