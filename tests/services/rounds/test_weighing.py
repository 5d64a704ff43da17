"""Weights that balance labels, over the product's own path, and how they survive their owner.

Covers: app.services.rounds.weighing
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.domain.trainings import TrainingConfig
from app.services.fleet.roster import LatestRoster
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.weighing import Weighing
from app.store.database import Database
from app.store.leases import Lease
from tests.planes import Adder, Plane, plane, until
from tests.services.courses import is_driven_to_its_end, parts
from tests.services.rounds.test_resuming import killed
from tests.store.samples import a_round, training

LABELS: dict[str, Any] = {"a": [10, 0], "b": [10, 0], "c": [0, 20]}


async def labelled(running: Plane, labels: Mapping[str, Any]) -> None:
    for client_id, counts in labels.items():
        await running.system.clients.change(client_id, {"data_distribution": counts})


def trainers() -> dict[str, Adder]:
    return {"a": Adder(1.0), "b": Adder(1.0), "c": Adder(4.0)}


async def test_a_round_has_the_mean_of_its_stored_weights(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, trainers()) as running:
        await labelled(running, LABELS)
        training_id = await running.create(aggregation="balanced")
        round_ = await running.run_round(training_id)
        assert round_.weighting == "balanced by the labels of 3 clients"
        found = {client_id: part.weight or 0.0 for client_id, part in parts(round_).items()}
        # The fleet has 20 samples of the first label and 10 of the second: skews of (1/3, -1/3) twice and (-2/3, 2/3).
        # The examples are equal, so the weights are balanced as they are, at a third each.
        assert found == pytest.approx(dict.fromkeys("abc", 1 / 3))
        assert await running.weight(training_id) == pytest.approx(2.0)


async def test_an_update_of_a_client_that_failed_is_made_up_for(sqlite_url: str, tmp_path: Path) -> None:
    given = trainers() | {"d": Adder(4.0)}
    given["d"].problem = RuntimeError("no battery")
    async with plane(tmp_path, sqlite_url, given) as running:
        await labelled(running, LABELS | {"d": [0, 20]})
        training_id = await running.create(aggregation="balanced")
        round_ = await running.run_round(training_id)
        c = parts(round_)["c"].weight or 0.0
        assert 0.45 < c < 0.5
        assert parts(round_)["d"].weight is None
        assert await running.weight(training_id) == pytest.approx((1 - c) * 1 + c * 4)


async def test_clients_without_labels_are_known_by_the_sketches_of_their_updates(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, sqlite_url, trainers()) as running:
        round_ = await running.run_round(await running.create(aggregation="balanced"))
        assert round_.weighting == "balanced by the sketches of 3 clients"
        other = await running.run_round(await running.create())
        assert (other.weighting, {part.weight for part in other.participations}) == (None, {None})


@pytest.mark.parametrize("fields", [{"aggregation": "fedavg"}, {"aggregation": "balanced", "weighting": "by labels"}])
async def test_a_round_that_needs_no_weights_or_has_them_stays_as_it_is(db: Database, fields: dict[str, str]) -> None:
    weighing = Weighing(db, OwnedTransactions(db), LatestRoster())
    round_ = a_round(weighting=fields.get("weighting"))
    config = TrainingConfig(name="t", aggregation=fields["aggregation"])  # type: ignore[arg-type]  # a rule
    assert await weighing.weigh(Lease("t", "me", 1), training(config=config), round_) is round_


async def test_a_successor_uses_the_weights_that_were_stored(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = trainers() | {"d": Adder(4.0)}
    given["d"].problem = RuntimeError("no battery")
    async with plane(tmp_path, database_url, given) as first:
        await labelled(first, LABELS | {"d": [0, 20]})
        training_id = await first.create(
            aggregation="balanced", max_rounds=1, hyperparameters={"server_momentum": 0.5, "server_nesterov": True}
        )
        await killed(first, training_id, monkeypatch, "before", "committed")
        stored = await first.round(training_id, 1)
        assert stored.status == "aggregating"
        await labelled(first, {"c": [20, 0], "d": None})  # what it says later changes nothing
        async with plane(tmp_path, database_url, given, host=first.host, register=False) as second:
            await until(lambda: is_driven_to_its_end(second, training_id))
            ended = await second.round(training_id, 1)
            assert ended.weighting == stored.weighting == "balanced by the labels of 3 clients"
            weights = {client_id: part.weight for client_id, part in parts(ended).items()}
            assert weights == {client_id: part.weight for client_id, part in parts(stored).items()}
            c = weights["c"] or 0.0
            assert 0.45 < c < 0.5
            assert await second.weight(training_id) == pytest.approx(1.5 * (1 + 3 * c))
