"""Reports of outside coordinators as stored facts, on both databases."""

import random

import pytest

from app.domain.errors import NotFound
from app.domain.failures import Failure
from app.domain.reports import Report
from app.metrics import Metrics
from app.services.fleet.outcomes import Outcomes
from app.services.tasks.breakers import Breakers
from app.store.database import Database
from tests.clocks import FakeClock
from tests.services.rounds.stored import told
from tests.store.samples import client

NOW = 1_000_000.0


@pytest.fixture
async def outcomes(db: Database, counts: Metrics) -> Outcomes:
    async with db.begin() as tx:
        await tx.clients.add([client("a", status="down"), client("b")])
    clock, rng = FakeClock(NOW), random.Random(1)  # noqa: S311  (jitter, not secrets)
    return Outcomes(db, clock, counts, Breakers(db, clock, counts, rng), rng)


def count(counts: Metrics, name: str, **labels: str) -> float:
    return counts.registry.get_sample_value(f"federated_{name}_total", labels) or 0.0


async def test_a_success_is_stored_and_brings_the_client_back(
    outcomes: Outcomes, db: Database, counts: Metrics
) -> None:
    returned = await outcomes.report("a", Report(seconds=12.0), by="ci")
    async with db.read() as tx:
        stored = await tx.clients.get("a")
        assert (await tx.clients.get("b")).measured.train_seconds is None
    assert stored.measured == returned.measured
    assert (stored.status, stored.last_seen_at, stored.measured.train_seconds) == ("healthy", NOW, 12.0)
    (event,) = await told(db)
    assert (event.type, event.client_id, event.data) == ("client.healthy", "a", {"was": "down"})
    assert count(counts, "reported_outcomes", outcome="success", phase="fit") == 1
    assert count(counts, "client_failures", kind="success", phase="fit") == 0


async def test_failures_open_the_breaker_and_operators_are_told_who_reported_them(
    outcomes: Outcomes, db: Database, counts: Metrics
) -> None:
    failed = Report(failure=Failure(phase="fit", kind="unreachable", reason="no connection"))
    for _ in range(3):
        found = await outcomes.report("b", failed, by="ci")
    assert found.breaker.state == "open"
    (event,) = await told(db)
    assert (event.type, event.client_id) == ("breaker.open", "b")
    assert event.data["reason"] == "fit: reported by ci: no connection"
    assert count(counts, "reported_outcomes", outcome="unreachable", phase="fit") == 3
    assert count(counts, "client_failures", kind="unreachable", phase="fit") == 3
    assert count(counts, "breaker_state_changes", state="open") == 1


async def test_a_report_about_nobody_is_refused_and_not_counted(outcomes: Outcomes, counts: Metrics) -> None:
    with pytest.raises(NotFound):
        await outcomes.report("nobody", Report(), by="ci")
    assert count(counts, "reported_outcomes", outcome="success", phase="fit") == 0
