"""Plans that are asked for without a round, and the stored plans of rounds."""

import pytest

from app.domain.errors import NotFound
from app.services.fleet.connectivity import LatestConnectivity
from app.services.fleet.roster import LatestRoster
from app.services.rounds.planning import Planner
from app.services.rounds.selections import Selections
from app.store.database import Database
from app.store.selections import packed
from tcsfeel.errors import NotEnoughClients, UnknownStrategy
from tcsfeel.selection.types import Selection, SelectionPolicy, Skipped, nobody
from tests.clocks import FakeClock
from tests.services.fakes import metrics
from tests.services.rounds.stored import begun
from tests.store.samples import NOW, client

TWO = SelectionPolicy(min_clients=2, max_clients=2)


@pytest.fixture
def selections(db: Database) -> Selections:
    return Selections(db, Planner(LatestRoster(), LatestConnectivity(), FakeClock(NOW + 100.0), metrics()))


async def registered(db: Database, count: int = 12) -> None:
    async with db.begin() as tx:
        await tx.clients.add([client(f"c{number:02}") for number in range(count)])


async def test_the_same_seed_and_round_give_the_same_plan_and_others_another(
    db: Database, selections: Selections
) -> None:
    await registered(db)

    async def drawn(seed: int, number: int) -> tuple[str, ...]:
        planned = await selections.plan("random", TWO, seed=seed, round_number=number, exclude=())
        ((selection, took),) = planned.selections
        assert took >= 0.0
        return selection.client_ids

    first = await drawn(1, 1)
    assert len(first) == 2
    assert await drawn(1, 1) == first
    assert len({await drawn(1, number) for number in range(1, 6)}) > 1
    assert len({await drawn(seed, 1) for seed in range(1, 6)}) > 1
    async with db.read() as tx:
        assert {one.rounds_selected for one in await tx.clients.all()} == {0}


async def test_the_strategies_to_compare_select_from_the_same_fleet_with_their_default_parameters(
    db: Database, selections: Selections
) -> None:
    await registered(db, 3)
    policy = SelectionPolicy(min_clients=2, max_clients=2, parameters={"factor": 3.0})
    planned = await selections.plan(
        "power-of-choice", policy, seed=1, round_number=1, exclude=["c00"], compare=["oort"]
    )
    assert [set(one.client_ids) for one, _ in planned.selections] == [{"c01", "c02"}] * 2
    for one, _ in planned.selections:
        assert one.skipped == (Skipped("c00", "the request excludes it"),)
    assert planned.connectivity_version == 0


async def test_a_plan_that_cannot_be_made_says_why(db: Database, selections: Selections) -> None:
    await registered(db, 2)
    with pytest.raises(NotEnoughClients) as caught:
        await selections.plan("random", TWO, seed=1, round_number=1, exclude=["c01"])
    assert caught.value.out == (("c01", "the request excludes it"),)
    with pytest.raises(UnknownStrategy):
        await selections.plan("no such strategy", TWO, seed=1, round_number=1, exclude=())


async def test_the_selection_of_a_round_is_read_as_it_was_stored(db: Database, selections: Selections) -> None:
    round_ = await begun(db, {"a": "training"})
    with pytest.raises(NotFound):
        await selections.of_round(round_.training_id, 1)
    stored: Selection = nobody("random", [Skipped("a", "it is busy")])
    async with db.begin() as tx:
        await tx.selections.add(round_.training_id, 1, packed(stored))
    assert await selections.of_round(round_.training_id, 1) == stored
    with pytest.raises(NotFound):
        await selections.of_round(round_.training_id, 2)
