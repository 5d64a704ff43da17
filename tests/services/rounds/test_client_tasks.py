"""What becomes of one client's task in a round: an update, a measurement or a first model, or the reason for none.

Covers: app.services.rounds.participants
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.breaker import Breaker
from app.domain.evaluations import NOTHING_HELD_OUT
from app.domain.rounds import Participation
from app.domain.trainings import TrainingConfig
from app.services.rounds.phase import Phase
from app.services.tasks.answers import AgentFailed
from app.store.leases import Fenced
from tcsfeel.wire.codec import encode
from tcsfeel.wire.tasks import TaskKind, result_metadata
from tests.services.rounds.foreign import RESULT
from tests.services.rounds.owners import Owner, owner
from tests.services.rounds.phases import phase
from tests.services.rounds.stored import client_of
from tests.store.samples import NOW

UPDATE = encode({"w": np.array([3.0, 0.0, 4.0], np.float32)}, result_metadata(RESULT))
OTHER = encode({"w": np.ones(3, np.float32)}, result_metadata(RESULT))
NOT_FINITE = encode({"w": np.full(3, np.nan, np.float32)}, result_metadata(RESULT))
MODEL = encode({"w": np.ones(3, np.float32)})
CONFIG = TrainingConfig(name="t")
ENDLESS = "tensor 'w' holds values that are not finite"


@pytest.fixture
async def value(database_url: str, tmp_path: Path) -> AsyncIterator[Owner]:
    """The owner of a round in training with one client, `a`."""
    async with owner(tmp_path, database_url, {"a": "training"}, {"a": (200, UPDATE)}) as these:
        yield these


def of(value: Owner, kind: TaskKind = "fit", config: TrainingConfig | None = None) -> Phase:
    """The phase of the owner's round."""
    spool = value.engine._files.spool(value.round_)
    config = TrainingConfig(name="t") if config is None else config
    given = {"lease": value.lease, "round_": value.round_, "kind": kind, "config": config, "deadline": NOW + 60.0}
    return phase(spool, **given)


async def fit(value: Owner, these: Phase, *, resumed: bool = False, removed: bool = False) -> float | None:
    """Train at the client, which may have been removed."""
    client = None if removed else await client_of(value.system.db, "a")
    (part,) = (await value.stored()).participations
    return await value.system.participants.fit(these.lease, these, part, client, resumed=resumed)


async def part_of(value: Owner) -> Participation:
    (part,) = (await value.stored()).participations
    return part


async def test_an_update_is_stored_with_what_it_brought_and_cost(value: Owner) -> None:
    these = of(value)
    assert await fit(value, these) == NOW
    part = await part_of(value)
    assert (part.status, part.reason, part.attempts, part.finished_at) == ("received", None, 1, NOW)
    assert (part.num_examples, part.loss, part.accuracy, part.update_norm) == (10, 1.0, 0.5, 5.0)
    assert these.place("a").names() == [part.update]
    assert part.bytes_received == len(UPDATE)
    assert value.agents.calls == [("PUT", "a", "/tasks/t.1.a.fit")]
    assert await fit(value, of(value)) is None, "its part has ended already"


async def test_an_agent_that_may_know_its_task_is_asked_first(value: Owner) -> None:
    assert await fit(value, of(value), resumed=True) == NOW
    assert value.agents.calls == [("GET", "a", "/tasks/t.1.a.fit")]
    assert (await part_of(value)).bytes_sent == 0


async def test_an_update_that_is_refused_counts_against_its_client(value: Owner) -> None:
    value.agents.replies["a"] = (200, NOT_FINITE)
    these = of(value)
    assert await fit(value, these) is None
    part = await part_of(value)
    assert (part.status, part.reason, part.update) == ("rejected", ENDLESS, None)
    assert await value.failures("a") == [ENDLESS]
    assert these.place("a").names() == []


async def test_a_task_that_fails_is_stored_with_its_reason(value: Owner) -> None:
    value.agents.replies["a"] = (403, b"")
    assert await fit(value, of(value)) is None
    part = await part_of(value)
    assert (part.status, part.reason, part.attempts) == ("failed", "the agent answered 403", 1)
    assert await value.failures("a") == ["the agent answered 403"]


async def test_a_client_that_was_removed_is_not_called(value: Owner) -> None:
    assert await fit(value, of(value), removed=True) is None
    part = await part_of(value)
    assert (part.status, part.reason, part.finished_at) == ("failed", "the client was removed", NOW)
    assert value.agents.calls == []


async def test_a_process_without_the_lease_settles_nothing(value: Owner) -> None:
    lost = replace(value.lease, fence=value.lease.fence - 1)
    with pytest.raises(Fenced):
        await fit(value, replace(of(value), lease=lost))
    assert (await part_of(value)).status == "training"


async def test_an_update_that_was_lost_is_fetched_again_without_training(value: Owner) -> None:
    these = of(value)
    await fit(value, these)
    part, client = await part_of(value), await client_of(value.system.db, "a")
    these.place("a").clear()
    value.agents.calls.clear()
    assert await value.engine._relaying.recover(these, part, client, {}) == NOW
    assert value.agents.calls == [("GET", "a", "/tasks/t.1.a.fit")]
    assert these.place("a").names() == [part.update]
    assert await part_of(value) == part


async def test_an_update_that_cannot_be_fetched_again_stays_lost(value: Owner) -> None:
    these = of(value)
    await fit(value, these)
    part, client = await part_of(value), await client_of(value.system.db, "a")
    for reply, instant in ((200, OTHER), NOW), ((200, b"no update at all"), NOW), ((403, b""), None):
        these.place("a").clear()
        value.agents.replies["a"] = reply
        assert await value.engine._relaying.recover(these, part, client, {}) == instant
        assert value.engine._files.lost(await value.stored()) == [part]


@pytest.mark.parametrize(
    ("body", "status", "reason", "failures"),
    [
        (encode({}, result_metadata(RESULT)), "received", None, []),
        (encode({}, {"result": '{"num_examples": 0}'}), "skipped", NOTHING_HELD_OUT, []),
        (encode({}), "rejected", "the metadata has no 'result'", ["the metadata has no 'result'"]),
    ],
)
async def test_a_measurement_ends_with_what_the_client_said(
    value: Owner, body: bytes, status: str, reason: str | None, failures: list[str]
) -> None:
    value.agents.replies["a"] = (200, body)
    part = Participation(kind="evaluate", client_id="a", status="training")
    async with value.system.db.begin() as tx:
        await tx.rounds.add_evaluations(replace(value.round_, evaluations=(part,)))
    these, client = of(value, "evaluate"), await client_of(value.system.db, "a")
    instant = await value.system.participants.evaluate(value.lease, these, part, client, resumed=False)
    (came,) = (await value.stored()).evaluations
    assert instant == (NOW if status == "received" else None)
    assert (came.status, came.reason, came.attempts, came.bytes_received) == (status, reason, 1, len(body))
    assert (came.num_examples, came.loss) == {"received": (10, 1.0), "skipped": (0, None)}.get(status, (None, None))
    told = (await client_of(value.system.db, "a")).failures.last_faulty
    assert (told and told.reason) == (failures[0] if failures else None)
    assert await value.failures("a") == [], "a wrong evaluation does not count for the breaker"
    assert these.place("a").names() == []


async def test_a_first_model_is_stored_and_closes_a_breaker(value: Owner) -> None:
    these, spool = value.system.participants, value.engine._files.spool(value.round_)
    value.agents.replies["a"] = (200, MODEL)
    async with value.system.db.begin() as tx:
        client = replace(await tx.clients.get("a"), breaker=Breaker(state="open", retry_at=NOW + 60.0, openings=1))
        await tx.clients.put(client)
    with pytest.raises(AgentFailed, match="client 'a': its breaker is not closed"):
        await these.initial_model(value.lease, client, value.round_, spool, 20.0, config=CONFIG, force=False)
    assert value.agents.calls == []
    first, since = await these.initial_model(value.lease, client, value.round_, spool, 20.0, config=CONFIG, force=True)
    assert value.engine._files.models.path(first.file.sha256).read_bytes() == MODEL
    assert await value.engine._ledger._models.begin(value.lease, first, since=since) == first.file.sha256
    assert (await value.system.breakers.get("a")).state == "closed"
    assert spool.within("a").names() == []


async def test_a_first_model_that_is_none_counts_against_its_client(value: Owner) -> None:
    these, spool = value.system.participants, value.engine._files.spool(value.round_)
    client = await client_of(value.system.db, "a")
    value.agents.replies["a"] = (200, NOT_FINITE)
    with pytest.raises(AgentFailed, match=f"client 'a': {ENDLESS}"):
        await these.initial_model(value.lease, client, value.round_, spool, 20.0, config=CONFIG, force=False)
    assert await value.failures("a") == [ENDLESS]
    assert spool.within("a").names() == []


async def test_a_first_model_that_fails_after_the_lease_was_lost_counts_against_nobody(value: Owner) -> None:
    these, spool = value.system.participants, value.engine._files.spool(value.round_)
    client, lost = await client_of(value.system.db, "a"), replace(value.lease, fence=value.lease.fence - 1)
    value.agents.replies["a"] = (500, b"")
    with pytest.raises(Fenced):
        await these.initial_model(lost, client, value.round_, spool, 20.0, config=CONFIG, force=False)
    assert await value.failures("a") == []


async def test_a_client_is_told_to_forget_its_task(value: Owner) -> None:
    these = value.system.participants
    these.forget([await client_of(value.system.db, "a")], value.round_, "evaluate")
    await these.drain()
    assert value.agents.calls == [("DELETE", "a", "/tasks/t.1.a.evaluate")]
