"""Clients that are still at work when their round goes on, and whose updates count in a later one."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain.carrying import CARRIED, CARRIES_NO_MORE, TRAINING_ENDED
from app.domain.retention import Retention
from app.domain.rounds import Round
from app.domain.trainings import SelectionConfig
from app.services.rounds.ending import CANCELLED
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, registered, until
from tests.services.courses import (
    events,
    has_received,
    has_started,
    has_status,
    parts,
    statuses,
)

STALE = 1 / math.sqrt(2)  # the factor of the weight of an update that is one version old


def carrying(**fields: Any) -> dict[str, Any]:
    rules = {"quorum": 0.75, "grace_seconds": 5.0, "stragglers": "carry"} | fields
    return {"round_policy": policy(**rules), "evaluation_clients": 0}


def four() -> dict[str, Adder]:
    """Trainers of which d does not end until its event is set."""
    trainers = {name: Adder(1.0) for name in "abcd"}
    trainers["d"].open.clear()
    return trainers


async def one_late(running: Plane, clock: FakeClock, training_id: str, number: int = 1, *, late: str = "d") -> Round:
    """Run a round that goes on without one client, which has its task."""
    await running.system.trainings.run_round(training_id)

    async def is_driven_so_far() -> bool:
        await running.drive()  # more than once: the lease of a round before may just be on its way back
        return await has_received(running, training_id, len(running.trainers) - 1, number)

    await until(is_driven_so_far)
    await until(lambda: has_started(running.trainers[late]))
    clock.advance(5.1)
    round_ = await running.ended(training_id, number)
    await until(lambda: has_status(running, training_id, "paused"))
    return round_


async def test_an_update_that_comes_late_counts_in_the_next_round_as_a_difference_to_its_own_base(
    database_url: str, tmp_path: Path
) -> None:
    clock = FakeClock()
    trainers = {name: Adder(1.0) for name in "abc"} | {"d": Adder(4.0)}
    trainers["d"].open.clear()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying())
        first = await one_late(running, clock, training_id)

        assert statuses(first) == {"a": "received", "b": "received", "c": "received", "d": "carried"}
        late = parts(first)["d"]
        assert (late.reason, late.carried_to, late.begun_in, late.base_model) == (CARRIED, None, 1, first.base_model)
        assert (await running.system.clients.get("d")).measured.reliability is None  # it is not late
        assert await running.weight(training_id) == 1.0

        trainers["d"].open.set()
        second = await running.run_round(training_id)
        assert statuses(second) == dict.fromkeys("abcd", "received")
        part = parts(second)["d"]
        assert (part.begun_in, part.base_model, part.staleness) == (1, first.base_model, 1)
        assert parts(await running.round(training_id, 1))["d"].carried_to == 2
        assert trainers["d"].fitted == {f"{training_id}.1.d.fit": 1}  # it has trained once
        assert part.update_norm == pytest.approx(4.0 * math.sqrt(3))
        # The others made 1 + 1. It made 0 + 4, which counts as 1 + 4.
        share = STALE / (3 + STALE)
        assert part.weight == pytest.approx(share)
        assert parts(second)["a"].weight == pytest.approx(1 / (3 + STALE))
        assert await running.weight(training_id) == pytest.approx((1 - share) * 2.0 + share * 5.0, rel=1e-6)
        assert second.weighting == "as the rule weighs them, times 1/sqrt(1 + staleness)"

        told = await events(running, training_id)
        carried = [one for one in told if one.type == "participation.carried"]
        assert [(one.client_id, one.round, one.data["begun_in"]) for one in carried] == [("d", 1, 1)]
        planned = [one.data for one in told if one.type == "round.planned"]
        assert [one.get("carried") for one in planned] == [None, ["d"]]
        assert sorted(planned[1]["clients"]) == ["a", "b", "c"]
        received = [one for one in told if one.type == "participation.received" and one.client_id == "d"]
        assert [(one.round, one.data["begun_in"], one.data["staleness"]) for one in received] == [(2, 1, 1)]

        third = await running.run_round(training_id)  # it is free again
        assert statuses(third) == dict.fromkeys("abcd", "received")
        assert (parts(third)["d"].begun_in, third.weighting) == (None, None)


async def test_a_client_that_carries_a_task_is_not_selected_but_takes_a_place(
    database_url: str, tmp_path: Path
) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(selection=any_of(4), **carrying())
        await one_late(running, clock, training_id)
        running.host.add("e", Adder(1.0), token="token-of-e")
        await running.system.clients.register([("e", registered("e", Adder(1.0)))])

        trainers["d"].open.set()
        second = await running.run_round(training_id)
        assert len(second.participations) == second.goal == 4  # three of the four others, and d
        assert [part.client_id for part in second.participations if part.begun_in is not None] == ["d"]
        explained = await running.system.selections.of_round(training_id, 2)
        reasons = {one.client_id: one.reason for one in explained.skipped}
        assert reasons["d"] == "it still works on its task of round 1"


async def test_a_task_is_carried_through_several_rounds_and_no_further_than_max_staleness(
    database_url: str, tmp_path: Path
) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying(max_staleness=2))
        rounds = [await one_late(running, clock, training_id, number) for number in (1, 2, 3)]
        assert [statuses(one)["d"] for one in rounds] == ["carried", "carried", "skipped"]
        assert [parts(one)["d"].staleness for one in rounds] == [0, 1, 2]
        assert [parts(one)["d"].begun_in for one in rounds] == [1, 1, 1]
        assert (await running.system.clients.get("d")).measured.reliability == pytest.approx(0.63)  # now it is late
        await until(lambda: has_forgotten(running, "d"))
        trainers["d"].open.set()
        fourth = await running.run_round(training_id)
        assert parts(fourth)["d"].begun_in is None
        assert set(trainers["d"].fitted) == {f"{training_id}.1.d.fit", f"{training_id}.4.d.fit"}


async def test_a_client_that_is_busy_with_a_carried_task_is_not_selected_by_another_training(
    sqlite_url: str, tmp_path: Path
) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, sqlite_url, trainers, clock=clock) as running:
        await one_late(running, clock, await running.create(**carrying()))
        other = await running.create(clients=3, evaluation_clients=0)
        assert statuses(await running.run_round(other)) == dict.fromkeys("abc", "received")


async def test_an_abandoned_round_carries_its_stragglers_and_their_updates_are_not_stale(
    database_url: str, tmp_path: Path
) -> None:
    clock = FakeClock()
    trainers = {name: Adder(1.0) for name in "ab"} | {"c": Adder(7.0)}
    for name in "bc":
        trainers[name].open.clear()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying(quorum=0.6))
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 1))
        await until(lambda: _have_started(trainers, 3))
        clock.advance(601.0)
        first = await running.ended(training_id, 1)
        assert (first.status, statuses(first)) == ("abandoned", {"a": "received", "b": "carried", "c": "carried"})
        await until(lambda: has_status(running, training_id, "paused"))

        for name in "bc":
            trainers[name].open.set()
        second = await running.run_round(training_id)
        assert statuses(second) == dict.fromkeys("abc", "received")
        assert [parts(second)[name].staleness for name in "abc"] == [0, 0, 0]
        assert second.weighting is None
        assert await running.weight(training_id) == pytest.approx(3.0)


async def test_a_round_of_carried_tasks_alone_needs_no_free_client(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    trainers = {name: Adder(2.0) for name in "ab"}
    for trainer in trainers.values():
        trainer.open.clear()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying(quorum=1.0))
        await running.system.trainings.run_round(training_id)
        await running.drive()
        await until(lambda: _have_started(trainers, 2))
        clock.advance(601.0)
        first = await running.ended(training_id, 1)
        assert statuses(first) == {"a": "carried", "b": "carried"}
        await until(lambda: has_status(running, training_id, "paused"))
        for trainer in trainers.values():
            trainer.open.set()
        second = await running.run_round(training_id)
        assert (second.status, statuses(second)) == ("completed", {"a": "received", "b": "received"})
        assert await running.weight(training_id) == 2.0


@pytest.mark.parametrize("rule", ["fedavg", "fedavgm", "fedadam", "fednova", "balanced", "weighted"])
async def test_every_mean_takes_stale_updates(sqlite_url: str, tmp_path: Path, rule: Any) -> None:
    clock = FakeClock()
    trainers = {name: Adder(1.0) for name in "abc"} | {"d": Adder(1.0)}
    for trainer in trainers.values():
        trainer.steps = 5
    trainers["d"].open.clear()
    async with plane(tmp_path, sqlite_url, trainers, clock=clock) as running:
        training_id = await running.create(aggregation=rule, **carrying())
        await one_late(running, clock, training_id)
        before = await running.weight(training_id)
        trainers["d"].open.set()
        second = await running.run_round(training_id)
        assert statuses(second) == dict.fromkeys("abcd", "received")
        weights = {name: part.weight or 0.0 for name, part in parts(second).items()}
        assert weights["d"] == pytest.approx(STALE * weights["a"])
        # All updates make the difference 1, so their mean does, whatever the weights are.
        if rule in {"fedavg", "fednova", "balanced", "weighted"}:
            assert await running.weight(training_id) == pytest.approx(before + 1.0, rel=1e-6)


async def test_cancelling_ends_carried_tasks_and_tells_their_agents(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying())
        await one_late(running, clock, training_id)
        await running.system.trainings.cancel(training_id)
        part = parts(await running.round(training_id, 1))["d"]
        assert (part.status, part.reason, part.carried_to) == ("skipped", CANCELLED, None)
        await until(lambda: has_forgotten(running, "d"))
        other = await running.create(clients=4, evaluation_clients=0)
        trainers["d"].open.set()
        assert statuses(await running.run_round(other)) == dict.fromkeys("abcd", "received")


async def test_the_end_of_the_training_ends_carried_tasks(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(max_rounds=1, **carrying())
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 3))
        await until(lambda: has_started(trainers["d"]))
        clock.advance(5.1)
        await until(lambda: has_status(running, training_id, "completed"))
        part = parts(await running.round(training_id, 1))["d"]
        assert (part.status, part.reason) == ("skipped", TRAINING_ENDED)
        await until(lambda: has_forgotten(running, "d"))


async def test_a_training_that_carries_no_more_ends_what_was_carried(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        training_id = await running.create(**carrying())
        await one_late(running, clock, training_id)

        def skipping(training: Any) -> Any:
            return replace(training.config, round_policy=policy(quorum=0.75, grace_seconds=5.0))

        await running.system.trainings.change(training_id, skipping)
        trainers["d"].open.set()
        second = await running.run_round(training_id)
        assert statuses(second) == dict.fromkeys("abcd", "received")  # d has a new task
        part = parts(await running.round(training_id, 1))["d"]
        assert (part.status, part.reason) == ("skipped", CARRIES_NO_MORE)
        assert (await running.system.clients.get("d")).measured.reliability == 0.93  # only its update counts
        first, second_task = (f"{training_id}.{number}.d.fit" for number in (1, 2))
        assert trainers["d"].fitted == {first: 1, second_task: 1}


async def test_the_model_that_a_carried_task_began_with_is_kept(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), four()
    async with plane(tmp_path, database_url, trainers, clock=clock) as running:
        kept = Retention(keep_last=1, keep_best=False)
        training_id = await running.create(retention=kept, **carrying())
        rounds = [await one_late(running, clock, training_id, number) for number in (1, 2, 3, 4)]
        await running.system.housekeeper.tick()
        async with running.system.db.read() as tx:
            assert await tx.carried.bases(training_id) == {rounds[0].base_model}
            assert [one.version.round for one in await tx.models.kept(training_id)] == [4, 3, 0]
        trainers["d"].open.set()
        fifth = await running.run_round(training_id)
        assert (parts(fifth)["d"].status, parts(fifth)["d"].staleness) == ("received", 4)


def any_of(least: int, *, most: int | None = None) -> SelectionConfig:
    return SelectionConfig(strategy="random", min_clients=least, max_clients=most or least)


async def _have_started(trainers: dict[str, Adder], count: int) -> bool:
    return sum(bool(trainer.fitted) for trainer in trainers.values()) == count


async def has_forgotten(running: Plane, client_id: str) -> bool:
    """Whether the agent of a client was told to forget all of its tasks."""
    entries = running.host.agents[client_id].table._entries.values()
    return all(entry.state == "cancelled" for entry in entries)
