"""Files go once nothing names them, and never under the hands of whoever stores the same bytes again."""

import asyncio
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, update

from app.store.database import Database
from app.store.model_store import ModelStore
from app.store.removals import WINDOW, FileRemoved
from app.store.tables import metadata, removals
from app.store.transaction import Transaction
from tests.depth import tries
from tests.store.instants import later_than, now, window_passes
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


async def request(db: Database, *names: str) -> None:
    async with db.begin() as tx:
        await tx.removals.request(names)


async def due(db: Database, delay: float = 0.0) -> list[str]:
    async with db.read() as tx:
        return await tx.removals.due(delay, 10)


async def begin(db: Database, name: str) -> float | None:
    async with db.begin() as tx:
        return await tx.removals.begin(name)


async def end(db: Database, name: str, until: float) -> bool:
    async with db.begin() as tx:
        return await tx.removals.end(name, until)


async def check(db: Database, since: float, *names: str) -> None:
    async with db.begin() as tx:
        await tx.removals.check(names, since)


async def removed(db: Database, *names: str) -> list[str]:
    async with db.read() as tx:
        return sorted(await tx.removals.removed(names))


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


CONTENTS = (b"x", b"y", b"z")
NAMES = {content: hashlib.sha256(content).hexdigest() for content in CONTENTS}


@dataclass
class Writing:
    """A process that stores a content: since when, and whether the file is written."""

    content: bytes
    since: float
    written: bool = False


@dataclass
class Removing:
    """A process that removes a file: until when it may, and whether it did."""

    name: str
    until: float
    removed: bool = False


class RemovalMachine(RuleBasedStateMachine):
    """Writers and removers of a few contents, each killed or overtaken anywhere; no kept version loses its file."""

    def __init__(self, directory: Path, database_url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.db = Database(database_url)
        self.store = ModelStore(directory / "models")
        self.store.clear()
        self.rounds = itertools.count(1)
        self.kept: dict[int, str] = {}
        self.unnamed: set[str] = set()  # written since a version last named it
        self.writers: list[Writing] = []
        self.removers: list[Removing] = []
        self.runner.run(self.start())

    async def start(self) -> None:
        async with self.db.begin() as tx:
            for table in reversed(metadata.sorted_tables):
                await tx.connection.execute(delete(table))
            await tx.trainings.add(training())

    @rule(content=st.sampled_from(CONTENTS))
    def begin_to_write(self, content: bytes) -> None:
        self.writers.append(Writing(content, self.runner.run(now(self.db))))

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        if self.writers:
            writing = data.draw(st.sampled_from(self.writers))
            self.store.write([writing.content])
            writing.written = True
            self.unnamed.add(NAMES[writing.content])

    @rule(data=st.data(), as_state=st.booleans())
    def commit(self, data: st.DataObject, as_state: bool) -> None:
        written = [writing for writing in self.writers if writing.written]
        if written:
            writing = data.draw(st.sampled_from(written))
            self.writers.remove(writing)
            self.runner.run(self.name(writing, as_state=as_state))

    async def name(self, writing: Writing, *, as_state: bool) -> None:
        name, number = NAMES[writing.content], next(self.rounds)
        try:
            async with self.db.begin() as tx:
                await tx.removals.check([name], writing.since)
                fields = {"sha256": f"{number:064x}", "optimiser_state": name} if as_state else {"sha256": name}
                await tx.models.add(version(number, "0", **fields))
        except FileRemoved:
            return
        self.kept[number] = name
        self.unnamed.discard(name)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        if self.kept:
            number = data.draw(st.sampled_from(sorted(self.kept)))
            self.runner.run(self.mark(number, self.kept.pop(number)))

    async def mark(self, number: int, name: str) -> None:
        async with self.db.begin() as tx:
            await tx.removals.request([name])
            await tx.models.remove("t", [number], NOW)
            await tx.models.forget_states("t", [number])

    @rule(content=st.sampled_from(CONTENTS))
    def begin_to_remove(self, content: bytes) -> None:
        until = self.runner.run(begin(self.db, NAMES[content]))
        if until is not None:
            self.removers.append(Removing(NAMES[content], until))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.removers:
            removing = data.draw(st.sampled_from(self.removers))
            self.store.remove(removing.name)
            removing.removed = True

    @rule(data=st.data())
    def end_removal(self, data: st.DataObject) -> None:
        done = [removing for removing in self.removers if removing.removed]
        if done:
            removing = data.draw(st.sampled_from(done))
            self.removers.remove(removing)
            assert self.runner.run(end(self.db, removing.name, removing.until))

    @rule()
    def removers_are_killed_and_their_time_passes(self) -> None:
        self.removers.clear()
        self.runner.run(window_passes(self.db))

    @rule()
    def writers_are_killed(self) -> None:
        self.writers.clear()

    @invariant()
    def what_is_kept_is_there(self) -> None:
        assert self.lost() == []

    def lost(self) -> list[str]:
        return [name for name in self.kept.values() if not self.store.has(name)]

    def teardown(self) -> None:
        try:
            self.runner.run(self.come_to_rest())
        finally:
            self.runner.run(self.db.dispose())
            self.runner.close()

    async def come_to_rest(self) -> None:
        """In the end what was given up is gone, but for what a writer left that never named it."""
        await window_passes(self.db)
        for name in await due(self.db):
            until = await begin(self.db, name)
            if until is not None:
                self.store.remove(name)
                assert await end(self.db, name, until)
        assert self.lost() == []
        assert set(self.store.names()) - set(self.kept.values()) <= self.unnamed


def test_no_order_of_writers_and_removers_loses_a_file_that_is_kept(database_url: str, tmp_path: Path) -> None:
    class Machine(RemovalMachine):
        def __init__(self) -> None:
            super().__init__(tmp_path, database_url)

    run_state_machine_as_test(
        Machine,
        settings=tries(20 if database_url.startswith("sqlite") else 8, steps=50),
    )
