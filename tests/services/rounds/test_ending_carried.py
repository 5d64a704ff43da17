"""What transactions store of tasks that are carried, taken into a round, or called off.

Covers: app.services.rounds.carrying, app.services.rounds.early_ends, app.services.rounds.ending
Covers: app.services.rounds.phases
"""

from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.carrying import CARRIED, DOWN, TOO_OLD, TRAINING_ENDED, Leaving
from app.domain.rounds import Participation
from app.domain.trainings import RoundPolicy, TrainingConfig
from app.services.rounds.carrying import ENDED_TOGETHER
from app.store.database import Database
from app.store.leases import Lease
from app.store.model_store import ModelStore
from tests.clocks import FakeClock
from tests.planes import plane
from tests.services.rounds.phases import phase
from tests.services.rounds.stored import begun, client_of, told
from tests.services.rounds.test_carrying import carrying, four, one_late
from tests.services.rounds.test_ending import SILENT, Desk
from tests.store.samples import NOW, a_round, training, version
from tests.store.test_mailbox import TASK as OFFERED

POLICY = RoundPolicy(stragglers="carry", max_staleness=2)


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def late(desk: Desk) -> None:
    """Store a round that goes on without b, which keeps its task."""
    round_ = await begun(desk.db, {"a": "received", "b": "training"}, goal=2, base_model="b" * 64)
    async with desk.db.begin() as tx:
        await tx.trainings.configure(training(config=TrainingConfig(name="test", round_policy=POLICY)))
        skipped = await desk.ending.skip_outstanding(tx, round_, "too late", {"b": SILENT}, carry=True)
    assert skipped is not None
    assert [(part.status, part.reason) for part in skipped.participations] == [("received", None), ("carried", CARRIED)]


@pytest.mark.parametrize(("taken", "status"), [(False, "skipped"), (True, "carried")])
async def test_an_agent_that_pulls_keeps_only_a_task_that_it_has_asked_for(
    desk: Desk, taken: bool, status: str
) -> None:
    round_ = await begun(desk.db, {"a": "received", "b": "training"}, goal=2)
    async with desk.db.begin() as tx:
        await tx.trainings.configure(training(config=TrainingConfig(name="test", round_policy=POLICY)))
        task = await tx.mailbox.offer(replace(OFFERED, id="t.1.b.fit", client_id="b", model="c" * 64))
        if taken:
            await tx.mailbox.take(task, NOW, size=100, call="", seconds=59.0, digest="d" * 64)
        skipped = await desk.ending.skip_outstanding(tx, round_, "too late", {"b": SILENT}, carry=True)
        stored = await tx.mailbox.find("t.1.b.fit")
    assert skipped is not None
    assert stored is not None
    assert skipped.participations[1].status == status
    assert stored.state == ("taken" if taken else "cancelled"), "the agent could take a task that nobody waits for"


async def test_a_carried_task_is_taken_into_a_round_once(desk: Desk) -> None:
    await late(desk)
    assert (await client_of(desk.db, "b")).measured.reliability is None
    assert [event.type for event in await told(desk.db)] == ["participation.carried"]
    async with desk.db.begin() as tx:
        for number in (0, 1, 2):
            await tx.models.add(version(number, "abc"[number]))
        found = await tx.carried.open("t")
        parts = await desk.ending.carrying.take_in(tx, a_round(number=3), found)
        assert await tx.carried.open("t") == []
    assert parts is not None
    assert [(one.client_id, one.begun_in, one.base_model, one.staleness, one.sent_before) for one in parts] == [
        ("b", 1, "b" * 64, 2, 30)
    ]


async def test_a_round_that_was_planned_with_other_tasks_than_the_open_ones_is_planned_again(desk: Desk) -> None:
    await late(desk)
    async with desk.db.begin() as tx:
        found = await tx.carried.open("t")
        await tx.carried.end("t", [replace(found[0], part=replace(found[0].part, status="skipped"))])
        assert await desk.ending.carrying.take_in(tx, a_round(number=3), found) is None


@pytest.mark.parametrize(("reason", "is_late"), [(DOWN, True), (TOO_OLD, False)])
async def test_a_task_that_ends_without_a_round_counts_against_its_client_only_if_it_is_late(
    desk: Desk, reason: str, is_late: bool
) -> None:
    await late(desk)
    async with desk.db.begin() as tx:
        (found,) = await tx.carried.open("t")
        ended = await desk.ending.carrying.end(tx, "t", [Leaving(found, reason, is_late)])
    assert ended == {"b": "t.1.b.fit"}
    async with desk.db.read() as tx:
        part = (await tx.rounds.get("t", 1)).participations[1]
    assert (part.status, part.reason) == ("skipped", reason)
    assert ((await client_of(desk.db, "b")).measured.reliability is not None) == is_late
    assert [event.type for event in await told(desk.db)] == ["participation.carried", "participation.skipped"]
    assert desk.counted("federated_participations_total", "skipped") == 1


async def test_all_tasks_of_a_training_end_without_blame(desk: Desk) -> None:
    await late(desk)
    async with desk.db.begin() as tx:
        assert await desk.ending.carrying.end_all(tx, "t", TRAINING_ENDED) == {"b": "t.1.b.fit"}
        assert await desk.ending.carrying.end_all(tx, "t", TRAINING_ENDED) == {}
    assert (await client_of(desk.db, "b")).measured.reliability is None


async def test_many_tasks_end_in_several_transactions(desk: Desk) -> None:
    names = [f"c{number:03}" for number in range(ENDED_TOGETHER + 1)]
    await begun(desk.db, dict.fromkeys(names, "carried"))
    for expected in (names[:-1], names[-1:], []):
        async with desk.db.begin() as tx:
            assert sorted(await desk.ending.carrying.end_all(tx, "t", TRAINING_ENDED)) == expected


async def test_a_training_that_has_no_round_left_ends_its_carried_tasks(desk: Desk) -> None:
    await late(desk)
    async with desk.db.begin() as tx:
        stored = await tx.trainings.get("t", for_update=True)
        going_on = await desk.ending.at_its_limit(tx, stored)
        assert going_on == (stored, {})
        at_its_end = replace(stored, config=replace(stored.config, max_rounds=1))
        after, tasks = await desk.ending.at_its_limit(tx, at_its_end)
    assert (after.status, tasks) == ("failed", {"b": "t.1.b.fit"})


async def test_without_carry_a_straggler_is_skipped(desk: Desk) -> None:
    round_ = await begun(desk.db, {"a": "training"}, goal=1)
    async with desk.db.begin() as tx:
        await tx.trainings.configure(training(config=TrainingConfig(name="test", round_policy=POLICY)))
        skipped = await desk.ending.skip_outstanding(tx, round_, "too late", {"a": SILENT})
    assert skipped is not None
    assert skipped.participations[0].status == "skipped"


async def test_carried_tasks_have_what_the_tasks_of_their_round_had(
    sqlite_url: str, tmp_path: Path, spool: ModelStore
) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, sqlite_url, trainers, clock=clock) as running:
        training_id = await running.create(hyperparameters={"epochs": 3}, **carrying())
        first = await one_late(running, clock, training_id)
        engine = running.system.coordinator._engine
        stored = await running.system.trainings.get(training_id)
        stored = replace(stored, config=replace(stored.config, hyperparameters={"epochs": 7}))
        now = phase(spool, round_=a_round(training_id, 2), config=stored.config)
        part = Participation(client_id="d", begun_in=1, base_model=first.base_model)
        found = await engine._phases.of_carried(stored, now, [part])
        assert list(found) == [1]
        assert (found[1].begun_in, found[1].present, found[1].runs) == (1, now.model, now.runs)
        assert found[1].config.hyperparameters == {"epochs": 3}
        assert found[1].model.parameters()["w"].tolist() == [0.0, 0.0, 0.0]
        assert found[1].more_seconds == 4 * 600.0
        assert await engine._phases.of_carried(stored, now, []) == {}

        early_ends, lease = running.system.coordinator._early_ends, Lease(training_id, "us", 1)
        early_ends._ledger.known(lease).called_off["d"] = f"{training_id}.1.d.fit"
        await early_ends.call_off_ended(lease)
        assert early_ends._ledger.known(lease).called_off == {}
        await early_ends.call_off_carried({})  # there is nothing to tell
        await engine._participants.drain()
        entries = running.host.agents["d"].table._entries.values()
        assert [entry.state for entry in entries] == ["cancelled"]
