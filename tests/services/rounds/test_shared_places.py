"""Trainings share the places of the server: nobody is starved, and nobody is blamed for what the server did not do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain.breaker import Breaker
from app.domain.rounds import Round
from app.domain.trainings import SelectionConfig
from tcsfeel.agent import AgentHost
from tests.clocks import FakeClock
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import parts, statuses

CONCURRENCY = 9  # of which a training that is alone gets 8
NAMES = [f"c{number:02}" for number in range(14)]


class SlowToAccept(AgentHost):
    """Agents that take for ever to accept a task of the training that `slow` names."""

    def __init__(self, trainers: dict[str, Adder]) -> None:
        super().__init__()
        self.slow = ""
        self.contacted: list[str] = []
        for client_id, trainer in trainers.items():
            self.add(client_id, trainer, token=f"token-of-{client_id}")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PUT" and self.slow and self.slow in scope["path"]:
            self.contacted.append(scope["path"])
            await FakeClock().sleep(1.0)  # which nothing advances
        await super().__call__(scope, receive, send)


def of(count: int) -> SelectionConfig:
    return SelectionConfig(strategy="random", min_clients=count, max_clients=count)


async def begin(running: Plane, host: SlowToAccept) -> str:
    """A round with 12 clients, as many of which are contacted as there are places for one training."""
    training_id = await running.create(
        selection=of(12), evaluation_clients=0, round_policy=policy(deadline_seconds=60.0)
    )
    host.slow = training_id
    await running.system.trainings.run_round(training_id)
    await running.drive()

    async def all_places_are_taken() -> bool:
        return len(host.contacted) == CONCURRENCY - 1

    await until(all_places_are_taken)
    return training_id


async def test_agents_that_hold_their_places_for_ever_do_not_stop_another_training(
    database_url: str, tmp_path: Path
) -> None:
    trainers = {name: Adder() for name in NAMES}
    host = SlowToAccept(trainers)
    agents = {"concurrency": CONCURRENCY, "poll_seconds": 0.5}
    async with plane(tmp_path, database_url, trainers, clock=FakeClock(), host=host, agents=agents) as running:
        slow = await begin(running, host)
        quick = await running.create(selection=of(2), evaluation_clients=0)
        round_ = await running.run_round(quick)
        assert list(statuses(round_).values()) == ["received", "received"]
        assert (await running.round(slow, 1)).status == "training"
    host.close()


async def test_clients_that_were_never_contacted_are_not_blamed(database_url: str, tmp_path: Path) -> None:
    clock, trainers = FakeClock(), {name: Adder() for name in NAMES}
    host = SlowToAccept(trainers)
    agents = {"concurrency": CONCURRENCY, "poll_seconds": 0.5}
    async with plane(tmp_path, database_url, trainers, clock=clock, host=host, agents=agents) as running:
        training_id = await begin(running, host)
        clock.advance(60.0)
        round_ = await running.ended(training_id, 1)
        assert round_.status == "abandoned"
        contacted = {name for name in NAMES if any(f".{name}." in path for path in host.contacted)}
        for client_id, part in parts(round_).items():
            client = await running.system.clients.get(client_id)
            assert client.breaker.consecutive_failures == 0
            if client_id in contacted:
                assert (part.status, part.reason, part.attempts) == ("skipped", "the round was abandoned", 1)
                assert client.measured.reliability == pytest.approx(0.63)
            else:
                reason = "the client was never contacted: the server had no free slot"
                assert (part.status, part.reason, part.attempts) == ("skipped", reason, 0)
                assert client.measured.reliability is None
        assert len(contacted) == 8
    host.close()


async def test_a_client_that_was_never_contacted_gives_its_breakers_permit_back(
    sqlite_url: str, tmp_path: Path
) -> None:
    clock, trainers = FakeClock(), {name: Adder() for name in NAMES[:12]}
    host = SlowToAccept(trainers)
    agents = {"concurrency": CONCURRENCY, "poll_seconds": 0.5}
    async with plane(tmp_path, sqlite_url, trainers, clock=clock, host=host, agents=agents) as running:
        async with running.system.db.begin() as tx:
            half_open = Breaker(state="half_open", retry_at=clock.now())
            for client in await tx.clients.all():
                await tx.clients.put(replace(client, breaker=half_open))
        training_id = await begin(running, host)
        clock.advance(60.0)
        round_ = await running.ended(training_id, 1)
        assert sum(not part.attempts for part in round_.participations) == 4
        await _all_are_admitted(running, round_)
    host.close()


async def _all_are_admitted(running: Plane, round_: Round) -> None:
    for client_id in round_.selected_clients:
        assert await running.system.breakers.admit(client_id, 1.0)
