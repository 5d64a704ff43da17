"""Trainings that start from a version of another one go on as the other would have.

Covers: app.services.trainings.trainings
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import Removed
from app.domain.parameter_groups import ParameterGroups
from app.domain.retention import Retention
from app.domain.rounds import next_round
from app.domain.trainings import SelectionConfig
from app.services.trainings.forking import Start, forked
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.goals import Goal
from tcsfeel.errors import Invalid
from tcsfeel.schedules import Step
from tcsfeel.selection import strategies
from tests.planes import Adder, Plane, plane
from tests.services.model_files import AT_ONCE, names, states, stored


class Uneven(Adder):
    """Moves by another step in each round, with a learning rate."""

    def fit(self, parameters: Any, task: Any) -> Any:
        self.steps = 1 + task.round % 2
        self.step = float(task.hyperparameters.get("learning_rate", 1.0)) * (1 + task.round % 3)
        return super().fit(parameters, task)


async def fork_of(running: Plane, source: str, number: int | None, *, optimiser: bool = True, **fields: Any) -> str:
    start = Start(source, number, optimiser)
    return (await running.system.trainings.fork(start, lambda known: replace(known.config, **fields))).id


SCHEDULES = {"hyperparameters.learning_rate": Step(init_value=0.5, gamma=0.5, step_size=1)}
MOMENTUM = {"hyperparameters.server_momentum": Step(init_value=0.9, gamma=0.5, step_size=1)}


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ("fedavgm", {}),
        ("fedadam", {}),
        ("fednova", {"hyperparameters": {"server_momentum": 0.5}}),
        ("fednova", {"schedules": SCHEDULES | MOMENTUM}),
    ],
)
async def test_a_fork_without_changes_makes_the_same_bytes_as_going_on(
    database_url: str, tmp_path: Path, rule: Aggregation, fields: dict[str, Any]
) -> None:
    trainers = {name: Uneven(examples=10 + rank, loss=1.0 + rank) for rank, name in enumerate("abcde")}
    async with plane(tmp_path, database_url, trainers, models=AT_ONCE) as running:
        source = await running.create(
            aggregation=rule,
            seed=3,
            goal=Goal(),
            selection=SelectionConfig(strategy="random", min_clients=2, max_clients=2),
            **({"schedules": SCHEDULES} | fields),
        )
        for _ in range(2):
            await running.run_round(source)
        await running.system.housekeeper.tick()
        fork = await fork_of(running, source, None)
        second = await fork_of(running, fork, None)  # a fork of a fork
        clients = {}
        for training in (source, fork, second):
            clients[training] = [(await running.run_round(training)).selected_clients for _ in range(2)]
        assert clients[source] == clients[fork] == clients[second]
        files = {training: await names(running.system, training) for training in clients}
        wanted = {number: name for number, name in files[source].items() if number >= 2}
        for training in (fork, second):
            assert {number: name for number, name in files[training].items() if number >= 2} == wanted
        assert len(set(wanted.values())) == 3, "each round made another model"


async def test_every_strategy_plans_the_next_round_of_a_fork_as_that_of_its_source(
    sqlite_url: str, tmp_path: Path
) -> None:
    trainers = {name: Uneven(examples=10 + rank, loss=1.0 + rank) for rank, name in enumerate("abcde")}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        source = await running.create(selection=SelectionConfig(strategy="random", min_clients=2, max_clients=2))
        for _ in range(3):
            await running.run_round(source)
        fork = await fork_of(running, source, 3)
        await running.run_round(source)  # which is not a part of the fork's past
        ids = [source, fork, await fork_of(running, fork, 3)]
        selecting = running.system.coordinator._engine._selecting
        for strategy in sorted(strategies()):
            chosen = []
            for training_id in ids:
                training = await running.system.trainings.get(training_id)
                rules = SelectionConfig(strategy=strategy, min_clients=2, max_clients=2)
                config = replace(training.config, selection=rules)
                training = replace(training, config=config, current_round=3)
                chosen.append((await selecting.plan(*next_round(training, time.time()), 1000))[1])
            assert chosen[0] == chosen[1] == chosen[2], strategy


async def test_the_optimiser_begins_again_unless_its_state_is_asked_for(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(0.5)}, models=AT_ONCE) as running:
        source = await running.create(aggregation="fedavgm")
        await running.run_round(source)
        await running.run_round(source)  # 0.5, then 0.5 + 0.5 + 0.9 * 0.5
        with_it, without = [await fork_of(running, source, None, optimiser=wanted) for wanted in (True, False)]
        for training in (source, with_it, without):
            await running.run_round(training)
        weights = [await running.weight(training) for training in (source, with_it, without)]
        assert weights[0] == weights[1]
        assert weights[2] == pytest.approx(1.45 + 0.5)


@pytest.mark.untraced
@pytest.mark.parametrize("rule", ["fedadam", "fedavgm"])
async def test_what_a_fork_needs_stays_when_its_source_does_not_need_it_any_more(
    database_url: str, tmp_path: Path, rule: Aggregation
) -> None:
    async with plane(tmp_path, database_url, {"a": Adder(0.5)}, models=AT_ONCE) as running:
        system = running.system
        source = await running.create(aggregation=rule, retention=Retention(keep_last=1, keep_best=False))
        for _ in range(3):
            await running.run_round(source)
        fork = await fork_of(running, source, 3)
        wanted, state = await names(system, fork), await states(system, fork)
        for _ in range(3):
            await running.run_round(source)
            await system.housekeeper.tick()
        assert 3 not in await names(system, source)
        assert {*wanted.values(), *state} <= stored(system)
        assert (await running.run_round(fork)).status == "completed"
        await running.run_round(fork)
        await running.run_round(fork)
        await system.housekeeper.tick()
        kept = await names(system, fork)
        assert kept[3] == wanted[3], "the version that it started from is kept like an initial one"
        needed = [{*(await names(system, one)).values(), *await states(system, one)} for one in (source, fork)]
        assert stored(system) == needed[0] | needed[1]


async def test_what_was_removed_is_no_start_and_the_answer_says_what_to_do(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(0.5)}, models=AT_ONCE) as running:
        source = await running.create(aggregation="fedadam", retention=Retention(keep_last=2, keep_best=False))
        for _ in range(3):
            await running.run_round(source)
        await running.system.housekeeper.tick()
        async with running.system.db.begin() as tx:
            with pytest.raises(Removed, match="model of round 1 has been removed"):
                await forked(tx, Start(source, 1), lambda known: known.config, "new", 0.0)
        with pytest.raises(Removed, match="model of round 1 has been removed: start from a version that is still kept"):
            await fork_of(running, source, 1)
        with pytest.raises(
            Removed, match="state of the server optimiser after round 2 has been removed: only those of"
        ):
            await fork_of(running, source, 2)
        assert (
            await running.system.trainings.get(await fork_of(running, source, 2, optimiser=False))
        ).current_round == 2


@pytest.mark.parametrize(
    ("rule", "momentum", "needed"), [("fednova", None, False), ("fednova", 0.5, True), ("fedavgm", 0.0, False)]
)
async def test_a_fork_needs_the_model_before_only_with_server_momentum(
    sqlite_url: str, tmp_path: Path, rule: Aggregation, momentum: float | None, needed: bool
) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Uneven()}, models=AT_ONCE) as running:
        source = await running.create(
            aggregation=rule,
            hyperparameters={} if momentum is None else {"server_momentum": momentum},
            retention=Retention(keep_last=2, keep_best=False),
        )
        for _ in range(4):
            await running.run_round(source)
        await running.system.housekeeper.tick()
        if needed:
            why = "before that of round 3, which server momentum reads, has been removed: only that of the newest"
            with pytest.raises(Removed, match=why):
                await fork_of(running, source, 3)
        else:
            fork = await fork_of(running, source, 3)
            await running.run_round(fork)
            assert (await names(running.system, fork))[4] == (await names(running.system, source))[4]


async def test_a_fork_with_server_momentum_starts_from_a_version_pinned_with_the_one_before(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Uneven()}, models=AT_ONCE) as running:
        source = await running.create(
            aggregation="fedavgm", goal=Goal(), retention=Retention(keep_last=1, keep_best=False)
        )
        for _ in range(5):
            await running.run_round(source)
        made = await names(running.system, source)
        for number in (1, 2):
            await running.system.models.pin(source, number)
        await running.system.housekeeper.tick()
        assert (await names(running.system, source)).keys() == {0, 1, 2, 4, 5}
        fork = await fork_of(running, source, 2)
        await running.run_round(fork)
        assert (await names(running.system, fork))[3] == made[3]


async def test_the_groups_of_tensors_are_those_of_the_model(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        source = await running.create()
        await running.run_round(source)
        with pytest.raises(Invalid, match="local and frozen cannot change") as refused:
            await fork_of(running, source, None, parameters=ParameterGroups(frozen=("x",)))
        assert refused.value.pointer == "/parameters"
        with pytest.raises(Invalid, match="aggregation or statistics are other ones"):
            await fork_of(running, source, None, statistics=("x",))
        await fork_of(running, source, None, optimiser=False, statistics=("x",))


async def test_a_fork_ends_by_the_numbers_of_its_rounds(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        source = await running.create(max_rounds=2)
        await running.run_round(source)
        await running.run_round(source)
        with pytest.raises(Invalid, match="should be more than 2, the round that it starts after"):
            await fork_of(running, source, None)
        fork = await fork_of(running, source, None, max_rounds=3, goal=Goal(metric="loss", mode="min"))
        config = (await running.system.trainings.get(fork)).config
        await running.system.trainings.change(fork, lambda _: replace(config, goal=Goal(target=1.0)))
        assert (await running.run_round(fork)).number == 3
        ended = await running.system.trainings.start(fork)
        assert (ended.status, ended.stop_detail) == (
            "completed",
            "1 of 1 rounds completed; the best accuracy was 0.3 in round 3; the target was accuracy of 1 or more",
        )
