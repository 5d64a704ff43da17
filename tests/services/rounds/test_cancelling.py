"""Cancelling a training in the middle of a round: no client is blamed, and nothing is left behind."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.threads import THREADS, in_thread
from tests.planes import Plane, until
from tests.services.courses import has_no_spools, has_received, is_idle
from tests.services.rounds.crowd import AWARE, MANY, UNAWARE, outstanding

pytestmark = pytest.mark.untraced


@contextmanager
def busy_checks() -> Iterator[None]:
    """Keep every thread that checks updates busy, so that what comes in meanwhile is not checked."""
    gate = threading.Event()
    jobs = [asyncio.create_task(in_thread("checks", gate.wait)) for _ in range(THREADS["checks"])]
    try:
        yield
    finally:
        gate.set()
        for job in jobs:
            job.cancel()


async def test_cancelling_a_crowd_counts_against_no_client(database_url: str, tmp_path: Path) -> None:
    """The last of several transactions told the agents to forget their tasks, which counted as failures of theirs."""
    tripped = frozenset(MANY[10:13])
    async with outstanding(tmp_path, database_url, MANY, tripped=tripped) as (running, crowd, training_id):
        await crowd.answer("fit", MANY[:3])
        await until(lambda: has_received(running, training_id, 3))
        await running.system.trainings.cancel(training_id)
        await until(lambda: is_idle(running))
        await running.system.participants.drain()

        assert crowd.tasks["fit"] == 0
        async with running.system.db.read() as tx:
            clients = {client.id: client for client in await tx.clients.all()}
        for client_id in MANY:
            client = clients[client_id]
            assert not client.breaker.last_failures, client_id
            assert client.breaker.state == ("half_open" if client_id in tripped else "closed"), client_id
            assert client.breaker.probe_until is None, client_id
            assert client.measured.reliability == (pytest.approx(0.93) if client_id in MANY[:3] else None), client_id


@pytest.mark.parametrize(
    ("clients", "owner"), [(MANY[:5], AWARE), (MANY, AWARE), (MANY, UNAWARE)], ids=["few", "many", "many, unaware"]
)
async def test_what_had_crossed_the_links_is_counted(
    database_url: str, tmp_path: Path, clients: list[str], owner: dict[str, Any]
) -> None:
    """Neither an answer that was not checked yet, nor what the owner had sent, was counted with every cancellation."""
    async with outstanding(tmp_path, database_url, clients, coordinator=owner) as (running, crowd, training_id):
        await crowd.answer("fit", clients[:1])
        await until(lambda: has_received(running, training_id, 1))
        with busy_checks():
            await crowd.answer("fit", clients[1:3])
            await until(lambda: has_come(running, sum(crowd.gave.values()), 3))
            await running.system.trainings.cancel(training_id)
            await until(lambda: is_idle(running))
        await running.system.participants.drain()

        round_ = await running.round(training_id, 1)
        assert {part.client_id: part.bytes_sent for part in round_.participations} == crowd.got
        assert {
            part.client_id: part.bytes_received for part in round_.participations if part.bytes_received
        } == crowd.gave
        assert {part.attempts for part in round_.participations} == {1}
        assert round_.communication_bytes == crowd.got.total() + crowd.gave.total()
        await running.system.participants.drain()
        await until(lambda: has_no_spools(running))


async def has_come(running: Plane, size: int, answers: int) -> bool:
    """Whether the server has received so many bytes, of so many answers."""
    samples = [sample for metric in running.system.metrics.registry.collect() for sample in metric.samples]
    known = [
        sample.value
        for sample in samples  # read once: to look for each client anew takes minutes, and holds the loop
        if sample.name == "federated_communication_bytes_total" and sample.labels["direction"] == "received"
    ]
    return sum(known) == size and sum(one > 0 for one in known) == answers
