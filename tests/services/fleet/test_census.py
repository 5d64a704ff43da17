"""Counting clients for the metrics, also while the database does not answer."""

import asyncio

from structlog.testing import capture_logs

from app.domain.breaker import Breaker
from app.metrics import Metrics
from app.services.fleet.census import Census
from app.services.fleet.clients import Clients
from app.settings import HealthSettings
from app.store.database import Database
from tests.clocks import FakeClock
from tests.services.access.replicas import server
from tests.services.fakes import TOKENS, metrics
from tests.store.samples import client


class SilentClients(Clients):
    """Clients in a database that answers no count; `called_off` is set once the count is cancelled."""

    def __init__(self, db: Database) -> None:
        super().__init__(db, FakeClock(), metrics(), HealthSettings(), TOKENS, keys=server(db).keys)
        self.called_off = asyncio.Event()

    async def count(self, metrics: Metrics) -> None:  # noqa: ARG002  (the count of the class above takes it)
        try:
            await asyncio.Event().wait()
        finally:
            self.called_off.set()


def gauge(counts: Metrics, name: str, **labels: str) -> float | None:
    return counts.registry.get_sample_value(name, labels)


async def test_a_census_brings_the_gauges_up_to_date(db: Database, counts: Metrics) -> None:
    census = Census(Clients(db, FakeClock(), counts, HealthSettings(), TOKENS, keys=server(db).keys), counts)
    async with db.begin() as tx:
        tripped = Breaker(state="open", opened_at=1.0, retry_at=2.0, consecutive_failures=3, openings=1)
        await tx.clients.add([client("a"), client("b", status="down"), client("c", breaker=tripped)])
    await census.take()
    assert gauge(counts, "federated_clients", status="healthy") == 2
    assert gauge(counts, "federated_clients", status="down") == 1
    assert gauge(counts, "federated_open_breakers") == 1
    async with db.begin() as tx:
        await tx.clients.remove("b")
    await census.take()
    assert gauge(counts, "federated_clients", status="down") == 0


async def test_a_census_that_gets_no_answer_keeps_the_last_count_and_logs_why(
    sqlite: Database, counts: Metrics
) -> None:
    counts.count_clients({"healthy": 7})
    census = Census(SilentClients(sqlite), counts, seconds=0.02)
    with capture_logs() as logs:
        await census.take()
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("clients and breakers could not be counted", "TimeoutError: the database has not answered for 0.02 s")
    ]
    assert gauge(counts, "federated_clients", status="healthy") == 7
    census.close()


async def test_a_census_that_is_closed_calls_the_count_off(sqlite: Database, counts: Metrics) -> None:
    clients = SilentClients(sqlite)
    census = Census(clients, counts, seconds=0.02)
    await census.take()
    assert not clients.called_off.is_set()
    census.close()
    async with asyncio.timeout(20):
        await clients.called_off.wait()
