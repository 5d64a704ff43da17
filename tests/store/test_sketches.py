"""Mean sketches as rows, on both databases."""

import struct

import pytest
from sqlalchemy import delete, select

from app.store.database import Database
from app.store.tables import sketches, trainings
from tcsfeel.selection.sketches import SIZE
from tests.store.samples import training


def flat(value: float) -> tuple[float, ...]:
    return (value,) * SIZE


@pytest.fixture
async def trained(db: Database) -> Database:
    """Two trainings."""
    async with db.begin() as tx:
        await tx.trainings.add(training("t"))
        await tx.trainings.add(training("other"))
    return db


async def test_the_mean_is_over_a_clients_rounds_in_one_training(trained: Database) -> None:
    async with trained.begin() as tx:
        for value in (0.25, 0.5, 0.75):
            await tx.sketches.fold("t", {"a": flat(value)})
        await tx.sketches.fold("t", {"b": (*flat(0.0)[1:], -1.0)})
        await tx.sketches.fold("other", {"a": flat(0.125)})
    async with trained.read() as tx:
        means = await tx.sketches.means("t")
        assert means.keys() == {"a", "b"}
        assert means["a"] == pytest.approx(flat(0.5))
        assert means["b"] == (*flat(0.0)[1:], -1.0)
        assert await tx.sketches.means("other") == {"a": flat(0.125)}
        assert await tx.sketches.means("none") == {}


async def test_a_sketch_is_kept_as_32_little_endian_floats(trained: Database) -> None:
    sketch = tuple(number / 64 for number in range(SIZE))
    async with trained.begin() as tx:
        await tx.sketches.fold("t", {"a": sketch})
        await tx.sketches.fold("t", {"a": sketch})
        row = (await tx.connection.execute(select(sketches))).one()
    assert (row.training_id, row.client_id, row.rounds) == ("t", "a", 2)
    assert struct.unpack("<32f", row.vector) == sketch


async def test_sketches_go_with_their_training(trained: Database) -> None:
    async with trained.begin() as tx:
        await tx.sketches.fold("t", {"a": flat(1.0)})
        await tx.sketches.fold("other", {"a": flat(2.0)})
        await tx.connection.execute(delete(trainings).where(trainings.c.id == "t"))
        assert await tx.sketches.means("t") == {}
        assert await tx.sketches.means("other") == {"a": flat(2.0)}


async def test_the_sketches_of_many_clients_are_added_together(trained: Database) -> None:
    async with trained.begin() as tx:
        await tx.sketches.fold("t", {"a": flat(0.5), "b": flat(0.25)})
        await tx.sketches.fold("t", {"a": flat(0.0), "c": flat(1.0)})
        await tx.sketches.fold("t", {})
        assert await tx.sketches.means("t") == {"a": flat(0.25), "b": flat(0.25), "c": flat(1.0)}
