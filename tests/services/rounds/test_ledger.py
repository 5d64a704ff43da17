"""The ledger under any order of takeovers, steps, repeats and late owners, against a model in plain Python."""

import asyncio
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, select, update

from app.composition import build
from app.domain.clients import Profile
from app.domain.errors import IllegalTransition
from app.domain.parameter_groups import Unmatched
from app.domain.rounds import ParticipationStatus, Round
from app.domain.tasks import Observation
from app.domain.trainings import RoundPolicy, SelectionConfig, TrainingConfig
from app.services.rounds.files import FirstModel
from app.store.leases import Fenced, Lease
from app.store.model_store import StoredFile
from app.store.tables import metadata, trainings
from tcsfeel.aggregation.goals import Goal
from tcsfeel.selection.sketches import SIZE
from tests import planes
from tests.clocks import FakeClock
from tests.depth import tries
from tests.services.network import Network
from tests.services.rounds.owners import owner
from tests.services.rounds.truth import CLIENTS, INITIAL, Truth

MAX_ROUNDS = 3
MAX_FAILED = 2
TARGET = 0.9


@dataclass
class Owner:
    """A process: its lease, and the round as it remembers it."""

    lease: Lease
    value: Round | None


class LedgerMachine(RuleBasedStateMachine):
    """Every rule lets some process try one step; a process that was overtaken must change nothing at all."""

    def __init__(self, directory: Path, database_url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        transport = Network(httpx2.MockTransport(lambda _: httpx2.Response(500)))
        self.system = build(planes.settings(directory, database_url), self.clock, transport)
        self.engine = self.system.coordinator._engine
        self.ledger = self.engine._ledger
        self.owners: list[Owner] = []
        self.truth = Truth()
        self.digests = (f"{number:064x}" for number in itertools.count(1))
        self.training_id = self.runner.run(self.begin())

    async def begin(self) -> str:
        async with self.system.db.begin() as tx:
            for table in reversed(metadata.sorted_tables):
                await tx.connection.execute(delete(table))
        profile = Profile(url="http://agent", data_size=10, compute_capacity=1.0, bandwidth=8.0, latency=5.0)
        await self.system.clients.register([(client_id, profile) for client_id in CLIENTS])
        config = TrainingConfig(
            name="test",
            goal=Goal(target=TARGET),
            max_rounds=MAX_ROUNDS,
            selection=SelectionConfig(strategy="random", min_clients=len(CLIENTS), max_clients=len(CLIENTS)),
            round_policy=RoundPolicy(max_failed_rounds=MAX_FAILED, deadline_seconds=1e6),
        )
        created = await self.system.trainings.create(config)
        await self.system.trainings.start(created.id)
        async with self.system.db.begin() as tx:
            claim = await tx.leases.claim("founder", 10.0)
        assert claim is not None
        self.truth.fence = claim.lease.fence
        await self.ledger._models.begin(claim.lease, FirstModel(StoredFile(INITIAL, 8), Unmatched()), since=1.0)
        self.owners.append(Owner(claim.lease, None))
        return created.id

    @rule()
    def take_over(self) -> None:
        """The lease runs out, and a new process claims the training with the round as it is stored."""
        self.runner.run(self.claim())

    async def claim(self) -> None:
        async with self.system.db.begin() as tx:
            await tx.connection.execute(update(trainings).values(lease_until=0.0))
            claim = await tx.leases.claim(f"owner-{len(self.owners)}", 10.0)
        if self.truth.training != "running":
            assert claim is None
            return
        assert claim is not None
        self.truth.fence += 1
        assert claim.lease.fence == self.truth.fence
        self.owners.append(Owner(claim.lease, None))

    @precondition(lambda self: self.truth.training == "running")
    @rule(back=st.integers(0, 3))
    def look(self, back: int) -> None:
        """A process asks what to drive: the open round, or the next one."""
        owner = self.owner(back)
        self.clock.advance(60.0)  # past any pause after failed rounds
        if not self.attempt(owner, lambda: self.next_round(owner)):
            return
        assert owner.value is not None
        if not self.truth.rounds or self.truth.rounds[-1] in {"completed", "abandoned"}:
            self.truth.rounds.append("selecting")
            self.truth.parts.append({})
        assert owner.value.number == len(self.truth.rounds)
        assert owner.value.status == self.truth.rounds[-1], "whoever takes over starts where the round stands"

    async def next_round(self, owner: Owner) -> None:
        owner.value = await self.system.coordinator._next(owner.lease)

    @rule(back=st.integers(0, 3))
    def plan(self, back: int) -> None:
        owner = self.owner(back)

        async def planned(round_: Round) -> Round:
            async with self.system.db.read() as tx:
                training = await tx.trainings.get(round_.training_id)
            fleet, selection = await self.engine._selecting.plan(training, round_, 8)
            return await self.ledger.planned(owner.lease, round_, self.truth.model, selection, fleet, {})

        if self.step(owner, planned, {"selecting": "training"}):
            self.truth.parts[-1] = dict.fromkeys(CLIENTS, "training")

    @rule(
        back=st.integers(0, 3),
        client=st.sampled_from(CLIENTS),
        status=st.sampled_from(["received", "failed"]),
        sketch=st.integers(-3, 3),
    )
    def settle(self, back: int, client: str, status: ParticipationStatus, sketch: int) -> None:
        """An answer comes in; it may be the second one, or come after the round has gone on."""
        owner = self.owner(back)
        value = owner.value
        part = next((part for part in value.participations if part.client_id == client), None) if value else None
        if value is None or part is None:
            return
        update_of = next(self.digests) if status == "received" else None
        settled = replace(part, status=status, update=update_of, num_examples=10, loss=1.0, accuracy=0.5)
        seen = Observation(sketch=(float(sketch),) * SIZE if status == "received" else None)
        written: list[bool] = []

        async def settling() -> None:
            written.append(await self.ledger.settled(owner.lease, value, settled, seen))

        if self.attempt(owner, settling):
            stored = self.truth.parts[value.number - 1]
            assert written == [stored[client] in {"pending", "training"}], "an answer counts once"
            if written[0]:
                stored[client] = status
                self.truth.counted[client] += status == "received"
                if status == "received":
                    self.truth.sketched[client].append(sketch)

    @rule(back=st.integers(0, 3))
    def freeze(self, back: int) -> None:
        owner = self.owner(back)
        if self.step(owner, lambda value: self.ledger.frozen(owner.lease, value, {}), {"training": "aggregating"}):
            self.truth.skip_outstanding()

    @rule(back=st.integers(0, 3))
    def commit(self, back: int) -> None:
        owner = self.owner(back)
        model, parent = StoredFile(next(self.digests), 8), self.truth.model
        step = self.step(
            owner,
            lambda value: self.ledger.committed(owner.lease, value, model, since=1.0),
            {"aggregating": "evaluating"},
        )
        if step:
            self.truth.models[len(self.truth.rounds)] = (model.sha256, parent)

    @rule(back=st.integers(0, 3), accuracy=st.sampled_from([None, 0.5, 0.95]))
    def measure(self, back: int, accuracy: float | None) -> None:
        owner = self.owner(back)

        async def measured(round_: Round) -> Round:
            return await self.ledger.measured(owner.lease, replace(round_, goal_value=accuracy))

        if self.step(owner, measured, {"evaluating": "completed"}):
            self.truth.failed_in_row = 0
            if (accuracy or 0.0) >= TARGET or len(self.truth.rounds) == MAX_ROUNDS:
                self.truth.training = "completed"
            else:  # the next round begins in the same transaction, since no pause is due
                self.truth.rounds.append("selecting")
                self.truth.parts.append({})

    @rule(back=st.integers(0, 3))
    def abandon(self, back: int) -> None:
        owner = self.owner(back)
        moves = dict.fromkeys(["selecting", "training", "aggregating"], "abandoned")
        if self.step(owner, lambda value: self.ledger.abandoned(owner.lease, value, "why"), moves):
            self.truth.skip_outstanding()
            self.truth.failed_in_row += 1
            if self.truth.failed_in_row == MAX_FAILED:
                self.truth.training = "failed"
            elif len(self.truth.rounds) == MAX_ROUNDS:
                self.truth.training = "completed" if "completed" in self.truth.rounds else "failed"

    @invariant()
    def the_store_holds_the_truth(self) -> None:
        self.runner.run(self.truth.compare(self.system.db, self.training_id))

    def owner(self, back: int) -> Owner:
        """The newest owner, or one of those before it."""
        return self.owners[max(0, len(self.owners) - 1 - back)]

    def step(self, owner: Owner, work: Any, moves: dict[str, str]) -> bool:
        """One transition of the round that an owner remembers; whether it came through."""
        value = owner.value
        if value is None:
            return False
        after: list[Round] = []

        async def moving() -> None:
            after.append(await work(value))

        illegal = value.status not in moves
        if not self.attempt(owner, moving, illegal=illegal):
            return False
        assert after[0].status == moves[value.status]
        owner.value, self.truth.rounds[-1] = after[0], after[0].status
        return True

    def attempt(self, owner: Owner, work: Any, *, illegal: bool = False) -> bool:
        """Let an owner write; whoever may not, by its fence or by the table, leaves every row as it was."""
        before = self.runner.run(self.rows())
        fenced = owner.lease.fence != self.truth.fence
        if not (fenced or illegal):
            self.runner.run(work())
            return True
        with pytest.raises((Fenced, IllegalTransition)) as caught:
            self.runner.run(work())
        assert not fenced or caught.type is Fenced
        assert self.runner.run(self.rows()) == before
        return False

    async def rows(self) -> dict[str, list[Any]]:
        async with self.system.db.read() as tx:
            return {
                table.name: [tuple(row) for row in await tx.connection.execute(select(table))]
                for table in metadata.sorted_tables
            }

    def teardown(self) -> None:
        self.runner.run(self.close())
        self.runner.close()

    async def close(self) -> None:
        await self.system.caller.close()
        await self.system.disconnect()


def test_rounds_follow_each_other_in_a_history(database_url: str, tmp_path: Path) -> None:
    """Steps in a random order hardly ever bring a round to its end."""
    machine = LedgerMachine(tmp_path, database_url)
    try:
        machine.look(back=0)
        for accuracy in (None, 0.5):
            machine.plan(back=0)
            machine.settle(back=0, client=CLIENTS[0], status="received", sketch=1)
            machine.freeze(back=0)
            machine.commit(back=0)
            machine.measure(back=0, accuracy=accuracy)
            machine.the_store_holds_the_truth()
            machine.look(back=0)
        machine.plan(back=0)
        machine.abandon(back=0)
        machine.the_store_holds_the_truth()
        assert machine.truth.rounds == ["completed", "completed", "abandoned"]
    finally:
        machine.teardown()


def test_no_order_of_owners_and_steps_breaks_a_rounds_history(database_url: str, tmp_path: Path) -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(tmp_path, database_url)

    run_state_machine_as_test(
        Machine,
        settings=tries(20 if database_url.startswith("sqlite") else 5, steps=40),
    )


async def test_tasks_that_an_earlier_version_planned_are_handed_over(database_url: str, tmp_path: Path) -> None:
    async with owner(tmp_path, database_url, {"a": "pending", "b": "received"}) as value:
        round_ = await value.engine._ledger.handed_over(value.lease, value.round_)
        assert [part.status for part in round_.participations] == ["training", "received"]
        assert round_ == await value.stored()
