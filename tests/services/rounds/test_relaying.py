"""Rounds whose updates travel over a relay tree, over the product's own path: database, files, dispatch, agents."""

import random
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.domain.relays import groups
from app.domain.rounds import Participation, Round
from app.domain.trainings import TrainingConfig
from app.store.model_store import ModelStore
from tcsfeel.agent import AgentHost
from tcsfeel.agent.relaying import Relaying
from tcsfeel.network.connectivity import Connectivity, Edge
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import events, has_received, has_started, is_driven_to_its_end, parts, statuses
from tests.services.rounds.phases import LEASE, phase
from tests.store.samples import a_round

CHEAP = 0.0001  # seconds per megabyte, far below the link of every client to the server


class Wire(httpx2.AsyncBaseTransport):
    """The links between agents. Those in `cut` cannot be reached by relays, and those in `answers` say what it has."""

    def __init__(self, host: AgentHost) -> None:
        self._host = httpx2.ASGITransport(host)
        self.cut: set[str] = set()
        self.answers: dict[str, httpx2.MockTransport] = {}
        self.calls: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        client_id = request.url.path.split("/")[2]
        self.calls.append(client_id)
        if client_id in self.cut:
            raise httpx2.ConnectError("cut", request=request)
        return await self.answers.get(client_id, self._host).handle_async_request(request)


def hosted(trainers: Mapping[str, Adder], refusing: Sequence[str] = ()) -> tuple[AgentHost, Wire]:
    """Host agents that relay, apart from those that refuse."""
    wire = Wire(host := AgentHost())
    for client_id, trainer in trainers.items():
        relaying = None if client_id in refusing else Relaying(transport=wire)
        host.add(client_id, trainer, token=f"token-of-{client_id}", relaying=relaying)
    return host, wire


@asynccontextmanager
async def relayed(
    directory: Path,
    database_url: str,
    trainers: Mapping[str, Adder],
    tree: Mapping[str, Sequence[str]],
    *,
    refusing: Sequence[str] = (),
    reuse: tuple[AgentHost, Wire] | None = None,
    register: bool | None = None,
    **overrides: Any,
) -> AsyncIterator[tuple[Plane, Wire]]:
    """A plane whose connectivity has just the links of a tree: relays with their children."""
    host, wire = hosted(trainers, refusing) if reuse is None else reuse
    async with plane(
        directory, database_url, trainers, host=host, register=reuse is None or bool(register), **overrides
    ) as running:
        edges = [Edge(relay, child, CHEAP) for relay, children in tree.items() for child in children]
        await running.system.connectivity.replace(lambda known: Connectivity.from_edges(sorted(known), edges))
        yield running, wire


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsfeel.agent.children.FIRST_PAUSE_SECONDS", 0.0)


def via(round_: Round) -> dict[str, str | None]:
    return {part.client_id: part.relay for part in round_.participations}


TREE = {"r": ["a", "b"]}


def four(**changes: Adder) -> dict[str, Adder]:
    return {
        "r": Adder(1.0, examples=10),
        "a": Adder(2.0, examples=20),
        "b": Adder(3.0, examples=30),
        "c": Adder(5.0, examples=40),
        **changes,
    }


async def test_a_round_over_relays_makes_the_mean_of_all_updates(database_url: str, tmp_path: Path) -> None:
    # (10 * 1 + 20 * 2 + 30 * 3 + 40 * 5) / 100 = 3.4
    trainers = four()
    async with relayed(tmp_path, database_url, trainers, TREE) as (running, wire):
        training_id = await running.create(topology="relay")
        round_ = await running.run_round(training_id)

        assert round_.status == "completed", round_.failure_reason
        assert groups(round_) == {"r": ("a", "b")}
        assert statuses(round_) == dict.fromkeys("rabc", "received")
        assert via(round_) == {"r": None, "a": "r", "b": "r", "c": None}
        assert await running.weight(training_id, 1) == pytest.approx(3.4, rel=1e-6)
        assert [sum(trainer.fitted.values()) for trainer in trainers.values()] == [1, 1, 1, 1]
        found = parts(round_)
        assert (found["a"].bytes_sent, found["a"].bytes_received, found["a"].num_examples) == (0, 0, 20)
        assert found["a"].digest is not None
        assert found["a"].update is None
        assert found["r"].bytes_received > 0
        assert {"a", "b"} == set(wire.calls)
        told = [one for one in await events(running, training_id) if one.type == "participation.received"]
        assert {one.client_id: one.data.get("relay") for one in told} == via(round_)


async def test_means_of_relays_are_balanced_as_a_whole(database_url: str, tmp_path: Path) -> None:
    """The recipe for relays weighs by labels, with the proportions within a mean as the relay has made them."""
    labels = {"r": [10, 0], "a": [20, 0], "b": [30, 0], "c": [0, 40]}
    async with relayed(tmp_path, database_url, four(), TREE) as (running, _):
        for client_id, counts in labels.items():
            await running.system.clients.change(client_id, {"data_distribution": counts})
        # Twice as many samples have the second label as those of the round, so c is to weigh more than by its examples.
        await running.system.clients.change("c", {"data_size": 120})
        training_id = await running.create(topology="relay", aggregation="balanced")
        round_ = await running.run_round(training_id)
        assert round_.status == "completed", round_.failure_reason
        assert via(round_) == {"r": None, "a": "r", "b": "r", "c": None}
        found = {client_id: part.weight or 0.0 for client_id, part in parts(round_).items()}
        assert round_.weighting == "balanced by the labels of 4 clients"
        assert sum(found.values()) == pytest.approx(1.0)
        assert (found["a"], found["b"]) == pytest.approx((2 * found["r"], 3 * found["r"]))
        assert found["c"] > 0.45 > 40 / 100
        expected = (1 - found["c"]) * (10 * 1 + 20 * 2 + 30 * 3) / 60 + found["c"] * 5
        assert await running.weight(training_id, 1) == pytest.approx(expected, rel=1e-6)


async def test_the_agents_of_a_mean_are_told_to_forget(database_url: str, tmp_path: Path) -> None:
    async with relayed(tmp_path, database_url, four(), TREE) as (running, _):
        await running.run_round(await running.create(topology="relay"))

        async def forgotten() -> bool:
            return not any(len(agent.table) for agent in running.host.agents.values())

        await until(forgotten)


async def test_a_child_that_its_relay_cannot_reach_is_asked_directly(database_url: str, tmp_path: Path) -> None:
    trainers = four()
    async with relayed(tmp_path, database_url, trainers, TREE) as (running, wire):
        wire.cut.add("a")
        training_id = await running.create(topology="relay")
        round_ = await running.run_round(training_id)

        assert statuses(round_) == dict.fromkeys("rabc", "received")
        assert via(round_) == {"r": None, "a": None, "b": "r", "c": None}
        assert await running.weight(training_id, 1) == pytest.approx(3.4, rel=1e-6)
        (told,) = [one for one in await events(running, training_id) if one.type == "participation.rerouted"]
        assert told.client_id == "a"
        assert told.data["relay"] == "r"
        assert "it could not be called" in told.data["reason"]


async def test_the_children_of_a_relay_that_fails_are_asked_directly(database_url: str, tmp_path: Path) -> None:
    # without r: (20 * 2 + 30 * 3 + 40 * 5) / 90
    trainers = four()
    trainers["r"].problem = ValueError("no memory")
    async with relayed(tmp_path, database_url, trainers, TREE) as (running, _):
        training_id = await running.create(topology="relay", round_policy=policy(quorum=0.5))
        round_ = await running.run_round(training_id)

        assert statuses(round_) == {"r": "failed", "a": "received", "b": "received", "c": "received"}
        assert via(round_) == dict.fromkeys("rabc")
        assert await running.weight(training_id, 1) == pytest.approx(330 / 90, rel=1e-6)
        assert set(trainers["a"].fitted.values()) == {1}, "it has trained again, although it had the result"


async def test_a_relay_that_sends_its_own_update_alone_is_taken_at_its_word(database_url: str, tmp_path: Path) -> None:
    async with relayed(tmp_path, database_url, four(), TREE, refusing=["r"]) as (running, _):
        training_id = await running.create(topology="relay")
        round_ = await running.run_round(training_id)

        assert statuses(round_) == dict.fromkeys("rabc", "received")
        assert via(round_) == dict.fromkeys("rabc")
        assert await running.weight(training_id, 1) == pytest.approx(3.4, rel=1e-6)


async def test_clients_that_do_not_relay_hang_on_the_server(sqlite_url: str, tmp_path: Path) -> None:
    async with relayed(tmp_path, sqlite_url, four(), TREE) as (running, _):
        await running.system.clients.change("b", {"relay": False})
        round_ = await running.run_round(await running.create(topology="relay"))
        assert groups(round_) in ({"r": ("a",)}, {"a": ("r",)})
        await running.system.clients.change("r", {"relay": False})
        round_ = await running.run_round(await running.create(topology="relay"))
        assert groups(round_) == {}
        assert statuses(round_) == dict.fromkeys("rabc", "received")


async def test_another_owner_takes_the_mean_that_the_relay_has_kept(database_url: str, tmp_path: Path) -> None:
    trainers = four()
    trainers["r"].open.clear()
    host, wire = hosted(trainers)
    async with relayed(tmp_path, database_url, trainers, TREE, reuse=(host, wire), register=True) as (running, _):
        training_id = await running.create(topology="relay", max_rounds=1)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_started(trainers["r"]))
    for trainer in trainers.values():
        trainer.open.set()
    async with plane(tmp_path, database_url, trainers, host=host, register=False) as running:
        await until(lambda: is_driven_to_its_end(running, training_id))
        round_ = await running.ended(training_id, 1)
        assert via(round_) == {"r": None, "a": "r", "b": "r", "c": None}
        assert await running.weight(training_id, 1) == pytest.approx(3.4, rel=1e-6)
        for trainer in trainers.values():
            assert set(trainer.fitted.values()) == {1}
    host.close()


async def test_a_round_without_relays_has_the_jobs_of_a_star(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, four()) as running:
        relaying = running.system.coordinator._engine._relaying
        waiting = tuple(Participation(client_id=name, status="training") for name in "rabc")
        this = phase(ModelStore(tmp_path / "spool"), round_=a_round("t", 3, participations=waiting))
        jobs = relaying.jobs(LEASE, this, waiting, {}, frozenset())
        assert [getattr(job, "__name__", "") for job in jobs] == ["fit"] * 4
        for job in jobs:
            job.close()


async def test_an_update_is_recovered_from_the_agent_that_has_it(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, four()) as running:
        relaying = running.system.coordinator._engine._relaying
        this = phase(ModelStore(tmp_path / "spool"), config=TrainingConfig(name="t"))
        client = await running.system.clients.get("a")
        part = Participation(client_id="a", status="received")
        assert await relaying.recover(this, part, client, {}) is not None
        assert len(this.place("a").names()) == 1


async def test_a_mean_that_another_owner_lacks_is_fetched_again(database_url: str, tmp_path: Path) -> None:
    """The spool of a killed server is gone, and the relay has kept its mean."""
    trainers = four()
    trainers["c"].open.clear()
    host, wire = hosted(trainers)
    async with relayed(tmp_path, database_url, trainers, TREE, reuse=(host, wire), register=True) as (running, _):
        training_id = await running.create(topology="relay", max_rounds=1)
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: has_received(running, training_id, 3))
    shutil.rmtree(tmp_path / "spool", ignore_errors=True)
    async with plane(tmp_path, database_url, trainers, host=host, register=False) as running:
        await until(lambda: is_driven_to_its_end(running, training_id))
        assert via(await running.round(training_id, 1)) == {"r": None, "a": "r", "b": "r", "c": None}
        assert await running.weight(training_id, 1) == pytest.approx(3.4, rel=1e-6)
        for trainer in trainers.values():
            assert set(trainer.fitted.values()) == {1}
    host.close()


async def test_a_child_is_not_to_blame_for_a_relay_that_is_late(sqlite_url: str, tmp_path: Path) -> None:
    trainers = four()
    trainers["r"].open.clear()
    async with relayed(tmp_path, sqlite_url, trainers, TREE) as (running, _):
        rules = policy(quorum=0.25, grace_seconds=0.2)
        round_ = await running.run_round(await running.create(topology="relay", round_policy=rules))
        assert statuses(round_) == {"r": "skipped", "a": "skipped", "b": "skipped", "c": "received"}
        assert parts(round_)["a"].reason == "its relay 'r' had not answered when the round continued"
        assert (await running.system.clients.get("a")).measured.reliability is None


@pytest.mark.parametrize("seed", range(6))
async def test_random_trees_with_failures_make_the_model_of_the_star(
    seed: int, sqlite_url: str, tmp_path: Path
) -> None:
    """Relays that fail, children that cannot be reached, and agents that do not relay."""
    draw = random.Random(seed)  # noqa: S311  (draws trees)
    names = [f"c{number}" for number in range(7)]
    trainers = {name: Adder(draw.uniform(-3, 3), examples=draw.randint(10, 30)) for name in names}
    relays = draw.sample(names, 2)
    children = [name for name in names if name not in relays]
    tree = {relay: [child for child in children if draw.random() < 0.6] for relay in relays}
    broken = {relay for relay in relays if draw.random() < 0.3}
    for relay in broken:
        trainers[relay].problem = ValueError("it fails")
    refusing = [name for name in names if name not in broken and draw.random() < 0.15]
    async with relayed(tmp_path, sqlite_url, trainers, tree, refusing=refusing) as (running, wire):
        wire.cut |= {child for child in children if draw.random() < 0.2}
        training_id = await running.create(topology="relay", round_policy=policy(quorum=0.3))
        round_ = await running.run_round(training_id)
        assert {name for name, status in statuses(round_).items() if status == "received"} == set(names) - broken
        whole = [trainer for name, trainer in trainers.items() if name not in broken]
        mean = sum(one.step * one.examples for one in whole) / sum(one.examples for one in whole)
        assert await running.weight(training_id, 1) == pytest.approx(mean, rel=1e-5, abs=1e-6)
        for name, trainer in trainers.items():
            assert name in broken or sum(trainer.fitted.values()) == 1
