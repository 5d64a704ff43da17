"""Breakers as stored facts, on both databases."""

import asyncio
import random
from dataclasses import asdict, replace

import pytest
from sqlalchemy import update

from app.domain.breaker import Breaker
from app.domain.errors import NotFound
from app.domain.failures import Failure
from app.metrics import Metrics
from app.services.tasks.breakers import Breakers
from app.store.database import Database
from app.store.tables import clients
from tests.clocks import FakeClock
from tests.services.fakes import FAILURE
from tests.services.rounds.stored import told
from tests.store.samples import client

NOW = 1_000_000.0


class Middle(random.Random):
    """No jitter either way."""

    def random(self) -> float:
        return 0.5


@pytest.fixture
async def breakers(db: Database, counts: Metrics) -> Breakers:
    """Those of two clients, ``a`` and ``b``."""
    async with db.begin() as tx:
        await tx.clients.add([client("a"), client("b", rounds_selected=7)])
    return Breakers(db, FakeClock(NOW), counts, Middle())


def opened(counts: Metrics, state: str) -> float:
    return counts.registry.get_sample_value("federated_breaker_state_changes_total", {"state": state}) or 0.0


async def test_three_failures_open_a_breaker_and_operators_are_told_once(
    breakers: Breakers, db: Database, counts: Metrics
) -> None:
    for failures in (1, 2):
        await breakers.fail("a", FAILURE)
        assert (await breakers.get("a")).consecutive_failures == failures
        assert (await breakers.get("a")).state != "open"
    assert await told(db) == []
    await breakers.fail("a", FAILURE)
    assert (await breakers.get("a")).state == "open"
    assert (await breakers.get("a")).retry_at == NOW + 30
    stored = await breakers.fail("a", FAILURE)  # a call that was under way
    assert stored is not None
    assert stored.breaker == await breakers.get("a")
    (event,) = await told(db)
    assert (event.type, event.client_id) == ("breaker.open", "a")
    assert event.data == {"was": "closed", "retry_at": NOW + 30, "reason": "fit: the agent answered 500"}
    assert opened(counts, "open") == 1


async def test_a_breaker_names_its_last_failures(breakers: Breakers, db: Database) -> None:
    for number in range(1, 8):
        reason = f"answered\n5\x1b[31m0{number}"
        evaluation = Failure(phase="evaluate", training_id="t", round=number, reason=reason, kind="unreachable")
        await breakers.fail("a", evaluation)
    kept = (await breakers.get("a")).last_failures
    assert [(failure.phase, failure.round, failure.at) for failure in kept] == [
        ("evaluate", number, NOW) for number in range(3, 8)
    ]
    assert kept[-1].reason == "answered 5 [31m07"  # on one line, without what a terminal would obey
    (event,) = await told(db)
    assert event.data["reason"] == "evaluate: answered 5 [31m03"


async def test_failed_tries_of_evaluations_are_counted_and_leave_the_breaker_alone(
    breakers: Breakers, db: Database, counts: Metrics
) -> None:
    for _ in range(5):
        await breakers.fail("a", Failure(phase="evaluate", reason="loss is nan"))
    async with db.read() as tx:
        stored = await tx.clients.get("a")
    assert (stored.breaker, stored.failures.faulty, stored.failures.wrong_evaluations) == (Breaker(), 5, 0)
    assert stored.failures.last_faulty == Failure(phase="evaluate", reason="loss is nan", at=NOW)
    labels = {"kind": "faulty", "phase": "evaluate"}
    assert counts.registry.get_sample_value("federated_client_failures_total", labels) == 5
    await breakers.reset("a")
    async with db.read() as tx:
        assert (await tx.clients.get("a")).may_evaluate(NOW)


async def test_a_breaker_that_was_stored_before_failures_were_kept_has_none(breakers: Breakers, db: Database) -> None:
    async with db.begin() as tx:
        old = {
            name: value for name, value in asdict(Breaker(openings=2)).items() if name not in {"last_failures", "cause"}
        }
        await tx.connection.execute(update(clients).where(clients.c.id == "a").values(breaker=old))
    assert await breakers.get("a") == Breaker(openings=2)


async def test_a_breaker_is_one_clients(breakers: Breakers, db: Database) -> None:
    for _ in range(3):
        await breakers.fail("a", FAILURE)
    async with db.read() as tx:
        assert await tx.clients.get("b") == client("b", rounds_selected=7)
        assert (await tx.clients.get("a")).profile == client("a").profile


async def test_a_success_ends_a_row_of_failures(breakers: Breakers) -> None:
    await breakers.fail("a", FAILURE)
    await breakers.fail("a", FAILURE)
    await breakers.succeed("a")
    await breakers.fail("a", FAILURE)
    assert (await breakers.get("a")).state == "closed"
    assert (await breakers.get("a")).consecutive_failures == 1


async def test_failures_at_the_same_moment_are_all_counted(breakers: Breakers, db: Database, counts: Metrics) -> None:
    await asyncio.gather(*(breakers.fail("a", FAILURE) for _ in range(8)))
    assert (await breakers.get("a")).consecutive_failures == 8
    assert opened(counts, "open") == 1
    assert len(await told(db)) == 1


async def test_isolating_and_resetting_by_hand(breakers: Breakers, db: Database, counts: Metrics) -> None:
    await breakers.fail("a", FAILURE)
    assert (await breakers.isolate("a")).isolated
    assert (await breakers.get("a")).isolated
    assert (await breakers.get("a")).state == "open"
    assert await breakers.reset("a") == Breaker()
    assert await breakers.get("a") == Breaker()
    assert await breakers.reset("a") == Breaker()  # again, which is no change
    assert [(event.type, event.data["reason"]) for event in await told(db)] == [
        ("breaker.open", "isolated by hand"),  # whatever failed before
        ("breaker.closed", None),
    ]
    assert opened(counts, "closed") == 1


async def test_a_client_after_a_good_call_is_given_back_and_not_stored(breakers: Breakers) -> None:
    probing = client("a", breaker=Breaker(state="half_open", openings=2, consecutive_failures=4))
    assert breakers.succeeded(probing) == replace(probing, breaker=Breaker())
    assert await breakers.get("a") == Breaker()


async def test_there_is_no_breaker_of_a_stranger(breakers: Breakers) -> None:
    for call in (breakers.isolate, breakers.reset, breakers.get):
        with pytest.raises(NotFound):
            await call("stranger")


async def test_what_happens_to_a_client_that_was_removed_is_recorded_nowhere(breakers: Breakers, db: Database) -> None:
    assert await breakers.fail("stranger", FAILURE) is None
    await breakers.succeed("stranger")
    assert await breakers.look("stranger") is None
    assert await told(db) == []


async def test_why_a_breaker_stopped_a_task_is_told_of_failures_only(breakers: Breakers) -> None:
    await breakers.fail("a", FAILURE)
    assert await breakers.why_open("a") == "its breaker opened: fit: the agent answered 500"
    await breakers.isolate("a")
    assert await breakers.why_open("a") == "its breaker opened"
    assert await breakers.why_open("b") == "its breaker opened"
    assert await breakers.why_open("of nobody") == "its breaker opened"


async def test_an_open_breaker_of_this_process_is_known_without_a_look(breakers: Breakers, db: Database) -> None:
    for _ in range(3):
        await breakers.fail("a", FAILURE)
    assert breakers.seems_open("a")
    assert not breakers.seems_open("b")
    stored = await breakers.look_at(["a", "b", "of nobody"])
    assert {name: one.breaker.state for name, one in stored.items()} == {"a": "open", "b": "closed"}
    async with db.begin() as tx:
        await tx.clients.put(client("a"))
    assert breakers.seems_open("a"), "others have closed it"
    assert await breakers.look("a") == client("a")
    await breakers.isolate("a")
    await breakers.reset("a")
    assert not breakers.seems_open("a")


async def test_a_single_call_takes_the_one_permit_of_a_half_open_breaker(breakers: Breakers, db: Database) -> None:
    assert await breakers.admit("a", 10)
    assert await breakers.admit("a", 10), "a closed breaker has no need to count"
    for _ in range(3):
        await breakers.fail("a", FAILURE)
    assert not await breakers.admit("a", 10)
    assert await breakers.admit("a", 10, force=True)
    assert (await breakers.get("a")).probe_until == NOW + 10
    assert not await breakers.admit("a", 10, force=True)
    assert [event.type for event in await told(db)] == ["breaker.open", "breaker.half_open"]
    assert not await breakers.admit("of nobody", 10)


async def test_permits_are_taken_together_and_those_of_open_breakers_only_by_force(
    breakers: Breakers, db: Database
) -> None:
    for _ in range(3):
        await breakers.fail("b", FAILURE)
    async with db.begin() as tx:
        locked = await tx.clients.lock(["a", "b"])
        assert await breakers.take_permits(tx, locked, 60.0, forced=()) == {"a"}
    assert (await breakers.get("b")).state == "open"
    async with db.begin() as tx:
        locked = await tx.clients.lock(["a", "b"])
        assert await breakers.take_permits(tx, locked, 60.0, forced={"b"}) == {"a", "b"}
    probed = await breakers.get("b")
    assert (probed.state, probed.probe_at, probed.probe_until) == ("half_open", NOW, NOW + 60.0)
    assert await breakers.get("a") == Breaker()
    assert [(event.type, event.client_id) for event in await told(db)] == [
        ("breaker.open", "b"),
        ("breaker.half_open", "b"),
    ]


async def test_a_client_after_a_bad_result_is_given_back_and_not_stored(breakers: Breakers) -> None:
    failed = client("a")
    for number in (1, 2, 3):
        failed = breakers.failed(failed, FAILURE)
        assert failed.breaker.consecutive_failures == number
    assert (failed.breaker.state, failed.breaker.last_failures[-1].at) == ("open", NOW)
    assert await breakers.get("a") == Breaker()


async def test_only_a_change_of_state_is_told(breakers: Breakers, db: Database, counts: Metrics) -> None:
    closed, tripped = Breaker(), Breaker(state="open", opened_at=NOW, retry_at=NOW + 30)
    async with db.begin() as tx:
        await breakers.note(tx, closed, replace(closed, consecutive_failures=1), "a")
        assert not breakers.seems_open("a")
        await breakers.note(tx, closed, tripped, "a")
        assert breakers.seems_open("a")
        await breakers.note(tx, tripped, closed, "a")
        assert not breakers.seems_open("a")
    assert [(event.type, event.data["was"], event.data["reason"]) for event in await told(db)] == [
        ("breaker.open", "closed", None),
        ("breaker.closed", "open", None),
    ]
    assert (opened(counts, "open"), opened(counts, "closed")) == (1, 1)
