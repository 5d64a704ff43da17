"""Files go once nothing names them, and never under the hands of whoever stores the same bytes again."""

import asyncio

import pytest
from sqlalchemy import update

from app.store.database import Database
from app.store.removals import WINDOW, FileRemoved
from app.store.tables import removals
from app.store.transaction import Transaction
from tests.store.instants import later_than, now, window_passes
from tests.store.removing import begin, check, due, end, removed, request
from tests.store.samples import NOW, training, version

A, B, STATE = "a" * 64, "b" * 64, "5" * 64


@pytest.fixture
async def trained(db: Database) -> Database:
    """Version 0 is A, version 1 is B with a state."""
    async with db.begin() as tx:
        await tx.trainings.add(training())
        await tx.models.add(version(0, "a"))
        await tx.models.add(version(1, "b", parent=A, optimiser_state=STATE))
    return db


async def test_what_a_version_or_a_state_names_stays_and_its_request_is_dropped(trained: Database) -> None:
    await request(trained, A, B, STATE)
    assert sorted(await due(trained)) == [STATE, A, B]
    for name in (A, B, STATE):
        assert await begin(trained, name) is None
    assert await due(trained) == []


async def test_what_nothing_names_any_more_goes_once(trained: Database) -> None:
    async with trained.begin() as tx:
        await tx.removals.request([A, STATE])
        await tx.models.remove("t", [0], NOW)
        await tx.models.forget_states("t", [1])
    for name in (A, STATE):
        before = await now(trained)
        until = await begin(trained, name)
        assert until is not None
        assert before + WINDOW <= until <= await now(trained) + WINDOW
        assert await begin(trained, name) is None  # somebody is at it
        assert name not in await due(trained)
        assert await removed(trained, name) == []
        assert await end(trained, name, until)
        assert not await end(trained, name, until)
        assert await removed(trained, name) == [name]
    assert await begin(trained, A) is None  # it is done
    assert await due(trained) == []


async def test_the_same_content_under_another_version_keeps_a_file(trained: Database) -> None:
    async with trained.begin() as tx:
        await tx.trainings.add(training("u"))
        await tx.models.add(version(0, "a", training_id="u"))
        await tx.removals.request([A])
        await tx.models.remove("t", [0], NOW)
    assert await begin(trained, A) is None
    async with trained.begin() as tx:
        await tx.removals.request([A])
        await tx.models.remove("u", [0], NOW)
    assert await begin(trained, A) is not None


async def test_a_file_is_due_after_a_delay_which_another_request_begins_anew(trained: Database) -> None:
    await request(trained, "c" * 64)
    assert await due(trained, 60.0) == []
    async with trained.begin() as tx:
        await tx.connection.execute(update(removals).values(requested_at=removals.c.requested_at - 61.0))
    assert await due(trained, 60.0) == ["c" * 64]
    await request(trained, "c" * 64)
    assert await due(trained, 60.0) == []


async def test_whoever_was_killed_in_between_is_followed_once_its_time_is_over(trained: Database) -> None:
    name = "c" * 64
    await request(trained, name)
    killed = await begin(trained, name)
    assert killed is not None
    assert await due(trained) == []
    await window_passes(trained)
    assert await due(trained) == [name]
    follower = await begin(trained, name)
    assert follower is not None
    assert not await end(trained, name, killed)  # it was not killed, only slow
    assert await end(trained, name, follower)


async def test_who_writes_while_a_file_goes_has_to_write_again(trained: Database) -> None:
    name = "c" * 64
    await request(trained, name)
    before = await now(trained)
    until = await begin(trained, name)
    assert until is not None
    for since in (before, await now(trained)):
        with pytest.raises(FileRemoved):
            await check(trained, since, A, name)
    between = await now(trained)
    assert await end(trained, name, until)
    await later_than(trained, await now(trained))
    with pytest.raises(FileRemoved):
        await check(trained, between, name)
    await check(trained, between, A, B)
    await check(trained, await later_than(trained, await now(trained)), name)


async def test_who_writes_after_a_killed_remover_waits_for_the_end_of_its_time(trained: Database) -> None:
    name = "c" * 64
    await request(trained, name)
    assert await begin(trained, name) is not None
    with pytest.raises(FileRemoved):
        await check(trained, await now(trained) + WINDOW / 2, name)
    await window_passes(trained)
    await check(trained, await now(trained), name)


async def test_a_file_that_was_stored_again_is_not_among_the_removed(trained: Database) -> None:
    name = "c" * 64
    await request(trained, name)
    until = await begin(trained, name)
    assert until is not None
    await end(trained, name, until)
    assert await removed(trained, A, name) == [name]
    async with trained.begin() as tx:
        await tx.models.add(version(2, "c"))
    assert await removed(trained, A, name) == []
    async with trained.begin() as tx:
        await tx.removals.request([name])
        await tx.models.remove("t", [2], NOW)
    assert await removed(trained, name) == []  # not yet, again
    assert await due(trained) == [name]


@pytest.mark.parametrize("first", ["writer", "remover"])
async def test_of_a_writer_and_a_remover_at_the_same_instant_the_second_sees_the_first(
    trained: Database, first: str
) -> None:
    """Each stands within its transaction, at a barrier, when the other one begins."""
    name, since = "c" * 64, await now(trained)
    await request(trained, name)
    inside, outside = asyncio.Event(), asyncio.Event()

    async def hold(tx: Transaction) -> None:
        if tx is holder:
            inside.set()
            await outside.wait()

    holder: Transaction | None = None

    async def write(*, holding: bool) -> None:
        nonlocal holder
        async with trained.begin() as tx:
            holder = tx if holding else holder
            await tx.removals.check([name], since)
            await tx.models.add(version(2, "c"))
            await hold(tx)

    async def remove(*, holding: bool) -> float | None:
        nonlocal holder
        async with trained.begin() as tx:
            holder = tx if holding else holder
            until = await tx.removals.begin(name)
            await hold(tx)
            return until

    works = {"writer": write, "remover": remove}
    one = asyncio.create_task(works.pop(first)(holding=True))
    await inside.wait()
    (work,) = works.values()
    other = asyncio.create_task(work(holding=False))
    done, _ = await asyncio.wait([other], timeout=0.1)
    assert not done  # it has to wait, or it would decide without knowing
    outside.set()
    outcomes = dict(zip([first, *works], await asyncio.gather(one, other, return_exceptions=True), strict=True))
    if first == "writer":
        assert outcomes == {"writer": None, "remover": None}
    else:
        assert isinstance(outcomes["writer"], FileRemoved)
        assert isinstance(outcomes["remover"], float)
