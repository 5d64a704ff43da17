"""Model versions as rows, on both databases."""

import asyncio

import pytest
from sqlalchemy.exc import IntegrityError

from app.domain.errors import NotFound
from app.store.database import Database
from app.store.models import ModelVersion
from tests.store.samples import training, version

FIRST, SECOND = version(0, "a"), version(1, "b", parent="a" * 64, size=2**40, optimiser_state="c" * 64)


@pytest.fixture
async def trained(db: Database) -> Database:
    """A training with an initial model and one of a round."""
    async with db.begin() as tx:
        await tx.trainings.add(training())
        await tx.models.add(SECOND)
        await tx.models.add(FIRST)
    return db


async def test_versions_are_found_by_round_by_content_and_as_the_newest(trained: Database) -> None:
    async with trained.read() as tx:
        assert await tx.models.get("t") == SECOND
        assert await tx.models.get("t", 0) == FIRST
        assert await tx.models.find("t", "a" * 64) == FIRST
        assert await tx.models.first("t") == FIRST


async def test_the_first_version_need_not_be_that_of_round_0(trained: Database) -> None:
    forked = [version(number, digit, training_id="f") for number, digit in ((8, "e"), (7, "d"))]
    async with trained.begin() as tx:
        await tx.trainings.add(training("f"))
        for one in forked:
            await tx.models.add(one)
        await tx.models.remove("f", [7], 1.0)
        assert (await tx.models.first("f")).sha256 == "d" * 64


async def test_parameters_that_came_up_twice_are_found_as_the_newer_version(trained: Database) -> None:
    again = version(5, "a")
    async with trained.begin() as tx:
        await tx.models.add(again)
        assert await tx.models.find("t", "a" * 64) == again


async def test_what_is_not_there_is_not_found(trained: Database) -> None:
    async with trained.read() as tx:
        with pytest.raises(NotFound, match="there is no model after round 2 of training '"):
            await tx.models.get("t", 2)
        with pytest.raises(NotFound):
            await tx.models.get("u")
        with pytest.raises(NotFound):
            await tx.models.first("u")
        with pytest.raises(NotFound):
            await tx.models.find("t", "c" * 64)
        with pytest.raises(NotFound):
            await tx.models.find("u", "a" * 64)


async def test_a_round_gives_one_model(trained: Database) -> None:
    async def commit(digit: str) -> None:
        async with trained.begin() as tx:
            await tx.models.add(version(2, digit))

    results = await asyncio.gather(commit("c"), commit("d"), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["IntegrityError", "NoneType"]


async def test_a_model_belongs_to_a_training(db: Database) -> None:
    with pytest.raises(IntegrityError):
        async with db.begin() as tx:
            await tx.models.add(FIRST)


async def test_the_initial_model_can_be_replaced(trained: Database) -> None:
    other: ModelVersion = version(0, "f")
    async with trained.begin() as tx:
        await tx.models.replace_initial(other)
    async with trained.read() as tx:
        assert await tx.models.get("t", 0) == other
        assert await tx.models.get("t") == SECOND


async def test_the_bytes_of_a_creator_are_those_of_its_files_that_are_kept(trained: Database) -> None:
    async with trained.begin() as tx:
        for name in ("f", "g"):
            await tx.trainings.add(training(name, created_by="ops"))
        await tx.trainings.add(training("h", created_by="ci"))
        for added in (
            version(0, "d", training_id="f", size=10),
            version(1, "e", training_id="f", size=200),
            version(2, "f", training_id="f", size=3_000),
            version(1, "e", training_id="g", size=200),  # the same file, which is stored once
            version(0, "1", training_id="h", size=40_000),
        ):
            await tx.models.add(added)
        await tx.models.remove("f", [2], 1.0)
        assert await tx.models.bytes_of("ops", without="g") == 210
        assert await tx.models.bytes_of("ops", without="f") == 200
        assert await tx.models.bytes_of("ci", without="f") == 40_000
        assert await tx.models.bytes_of("nobody", without="f") == 0
