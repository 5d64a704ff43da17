"""Writers and removers of the same few contents, each killed or overtaken anywhere: no kept version loses its file."""

import asyncio
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete

from app.store.database import Database
from app.store.model_store import ModelStore
from app.store.removals import FileRemoved
from app.store.tables import metadata
from tests.depth import tries
from tests.store.instants import now, window_passes
from tests.store.removing import begin, due, end
from tests.store.samples import NOW, training, version

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
