"""Whoever ends a round before its time leaves the same behind."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from app.domain.events import CATALOG, Event
from app.domain.events.event import PLACES
from app.domain.events.rounds import RoundAbandoned, RoundCompleted, end_of
from app.domain.rounds import Round
from app.store.events import RecordedEvent
from tests.clocks import FakeClock
from tests.planes import Plane, until
from tests.services.courses import has_no_spools, has_received, is_idle
from tests.services.rounds.crowd import AWARE, MANY, Crowd, outstanding
from tests.services.rounds.test_crowds import claimed

pytestmark = pytest.mark.untraced

FEW = MANY[:5]


@dataclass(frozen=True)
class Course:
    """A round in which every client has its task, and the first one's update was received."""

    running: Plane
    crowd: Crowd
    training_id: str
    clock: FakeClock


async def to_its_deadline(course: Course) -> None:
    course.clock.advance(601.0)
    await until(lambda: has_ended(course))


async def given_up(course: Course) -> None:
    await course.running.system.coordinator.stop()  # an error stops its work as well
    lease = await claimed(course.running, "successor")
    value = await course.running.system.coordinator._next(lease)
    assert value is not None
    await course.running.system.coordinator._early_ends.give_up(lease, value, "the disk is full")


async def cancelled(course: Course) -> None:
    await course.running.system.trainings.cancel(course.training_id)
    await until(lambda: is_idle(course.running))


async def cancelled_while_paused(course: Course) -> None:
    await course.running.system.trainings.pause(course.training_id)
    await until(lambda: is_idle(course.running))
    await cancelled(course)


async def cancelled_after_a_resume(course: Course) -> None:
    await course.running.system.trainings.pause(course.training_id)
    await until(lambda: is_idle(course.running))
    await course.running.system.trainings.start(course.training_id, "resume")
    await cancelled(course)


async def has_ended(course: Course) -> bool:
    """Whether the owner has ended the round, and has cleared away after it."""
    ended = (await course.running.round(course.training_id, 1)).status == "abandoned"
    return ended and not list(course.running.system.housekeeper._files.spool_directory.iterdir())


Ending = Callable[[Course], Awaitable[None]]
ENDINGS: list[Any] = [
    pytest.param(to_its_deadline, FEW, 0.63, id="its deadline"),
    pytest.param(given_up, FEW, None, id="given up"),
    pytest.param(cancelled, FEW, None, id="cancelled"),
    pytest.param(cancelled, MANY, None, id="cancelled in several transactions"),
    pytest.param(cancelled_while_paused, FEW, None, id="cancelled while paused"),
    pytest.param(cancelled_after_a_resume, FEW, None, id="cancelled after a resume"),
]


@pytest.mark.parametrize(("end", "clients", "reliability"), ENDINGS)
async def test_each_early_end_leaves_the_same_behind(
    database_url: str, tmp_path: Path, end: Ending, clients: list[str], reliability: float | None
) -> None:
    clock, tripped = FakeClock(), frozenset(clients[3:5])
    given: dict[str, Any] = {"clock": clock, "coordinator": AWARE}
    async with outstanding(tmp_path, database_url, clients, tripped=tripped, **given) as (running, crowd, training_id):
        await crowd.answer("fit", clients[:1])
        await until(lambda: has_received(running, training_id, 1))
        await end(Course(running, crowd, training_id, clock))
        value = await settled(running, training_id)

        assert (value.status, len(value.participations)) == ("abandoned", len(clients))
        assert_counted(value, crowd)
        assert [part.status for part in value.participations].count("skipped") == len(clients) - 1
        assert value.fairness == pytest.approx(1 / len(clients))
        await running.system.participants.drain()
        await until(lambda: has_no_spools(running))
        await until(lambda: crowd.has_tasks("fit", 0))
        assert crowd.tasks == {"fit": 0}
        counted = running.system.metrics.registry.get_sample_value
        assert counted("federated_rounds_total", {"outcome": "abandoned"}) == 1.0
        assert counted("federated_participations_total", {"outcome": "skipped"}) == len(clients) - 1
        told = await events_of(running, training_id)
        assert_told(told, value)
        assert len([event for event in told if event.type == "participation.skipped"]) == len(clients) - 1
        async with running.system.db.read() as tx:
            known = {client.id: client for client in await tx.clients.all()}
        assert {client.breaker.probe_until for client in known.values()} == {None}
        assert {client.id for client in known.values() if client.breaker.state == "half_open"} == tripped
        assert not any(client.breaker.last_failures for client in known.values())
        missed = [client.measured.reliability for client in known.values() if client.id != clients[0]]
        assert {None if one is None else round(one, 6) for one in missed} == {reliability}


@pytest.mark.parametrize("end", [given_up, cancelled, cancelled_while_paused])
async def test_an_end_during_the_evaluation_keeps_the_model_and_counts_every_byte(
    database_url: str, tmp_path: Path, end: Ending
) -> None:
    """What evaluations had cost was lost, and what stragglers had cost was counted twice."""
    clock = FakeClock()
    given: dict[str, Any] = {"clock": clock, "coordinator": AWARE, "quorum": 0.6, "grace_seconds": 5.0}
    async with outstanding(tmp_path, database_url, FEW, **given) as (running, crowd, training_id):
        await crowd.answer("fit", FEW[:3])
        await until(lambda: has_received(running, training_id, 3))
        clock.advance(6.0)
        await until(lambda: crowd.has_tasks("evaluate", 5))
        await end(Course(running, crowd, training_id, clock))
        value = await settled(running, training_id)

        assert (value.status, value.average_accuracy) == ("completed", None)
        assert value.model is not None
        assert value.communication_bytes == crowd.got.total() + crowd.gave.total()
        await running.system.participants.drain()
        await until(lambda: has_no_spools(running))
        assert crowd.tasks == {"fit": 0, "evaluate": 0}
        assert_told(await events_of(running, training_id), value)


@pytest.mark.parametrize("cancel", [False, True], ids=["paused", "cancelled"])
async def test_who_leaves_a_round_stores_its_costs_and_calls_its_tasks_off_only_if_it_is_over(
    database_url: str, tmp_path: Path, *, cancel: bool
) -> None:
    async with outstanding(tmp_path, database_url, FEW) as (running, crowd, training_id):
        trainings, coordinator = running.system.trainings, running.system.coordinator
        await (trainings.cancel(training_id) if cancel else trainings.pause(training_id))
        value = await running.round(training_id, 1)
        assert {part.bytes_sent for part in value.participations} == {0}
        await coordinator._early_ends.leave(await trainings.get(training_id), value)
        value = await settled(running, training_id)

        assert value.status == ("abandoned" if cancel else "training")
        assert {part.client_id: part.bytes_sent for part in value.participations} == crowd.got
        assert value.communication_bytes == (crowd.got.total() if cancel else 0)
        assert crowd.tasks == {"fit": 0 if cancel else len(FEW)}


async def test_agents_are_told_that_their_tasks_are_not_wanted_and_what_came_is_removed(
    database_url: str, tmp_path: Path
) -> None:
    async with outstanding(tmp_path, database_url, FEW) as (running, crowd, training_id):
        await crowd.answer("fit", FEW[:1])
        await until(lambda: has_received(running, training_id, 1))
        assert running.system.housekeeper._files.spooled()
        value = await running.round(training_id, 1)
        await running.system.coordinator._early_ends.call_off(value)
        await running.system.participants.drain()
        assert crowd.forgotten == len(FEW)
        await running.system.participants.drain()
        await until(lambda: has_no_spools(running))
        assert await running.round(training_id, 1) == value


async def settled(running: Plane, training_id: str) -> Round:
    """The round, once the agents were told of its end."""
    await running.system.participants.drain()
    return await running.round(training_id, 1)


def assert_counted(round_: Round, crowd: Crowd) -> None:
    """Every body that crossed a link is counted, once."""
    assert {part.client_id: part.bytes_sent for part in round_.participations} == crowd.got
    assert {part.client_id: part.bytes_received for part in round_.participations if part.bytes_received} == crowd.gave
    assert round_.communication_bytes == crowd.got.total() + crowd.gave.total()


def assert_told(told: list[RecordedEvent], round_: Round) -> None:
    """One event tells of the end, with all that the catalog says, and so does one for each participation."""
    ends = [event for event in told if CATALOG[event.type] in (RoundCompleted, RoundAbandoned)]
    assert [is_record_of(end_of(round_), event) for event in ends] == [True]
    parts = {part.client_id: part for part in round_.participations}
    for event in told:
        assert event.data.keys() == {field.name for field in fields(CATALOG[event.type])} - set(PLACES)
        if CATALOG[event.type].subject == "participation":
            part = parts.pop(event.client_id or "")
            assert (event.round, event.type) == (round_.number, f"participation.{part.status}")
            assert event.data["reason"] == part.reason
    assert parts == {}


def is_record_of(event: Event, record: RecordedEvent) -> bool:
    """Whether a record holds just what an event says."""
    place = {name: getattr(record, name) for name in PLACES}
    return (record.type, place, record.data) == (event.type, event.place(), event.data())


async def events_of(running: Plane, training_id: str) -> list[RecordedEvent]:
    async with running.system.db.read() as tx:
        return (await tx.events.after(0, training_id=training_id, limit=10 * len(MANY))).items
