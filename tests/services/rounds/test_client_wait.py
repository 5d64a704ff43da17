"""How long a round waits for clients, and what it is when the wait is over.

Covers: app.services.rounds.waiting
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.rounds import Round
from app.domain.trainings import SelectionConfig
from app.services.rounds.waiting import REASON_SECONDS, ClientWait
from app.store.leases import Fenced, Lease
from tcsfeel.errors import NotEnoughClients
from tests.planes import policy
from tests.services.rounds.owners import Owner, owner
from tests.store.samples import NOW, training

LACK = NotEnoughClients(0, 1, 1, [("a", "its status is down")])


class Counts:
    """Stands in for the count of clients: gives one number after the other, and the last one for ever."""

    def __init__(self, counts: Iterable[int]) -> None:
        self._left = list(counts)

    async def count(self) -> int:
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


@pytest.fixture
async def waiting(database_url: str, tmp_path: Path) -> AsyncIterator[Owner]:
    async with owner(tmp_path, database_url, {}, status="selecting", clients={}) as value:
        yield value


async def wait(
    value: Owner,
    *counts: int,
    seconds: float = 1000.0,
    tries: int = 0,
    required: int = 1,
    lease: Lease | None = None,
) -> Round:
    """Let the round wait while the clients that can be selected are as many as `counts` says, one after the other."""
    these: ClientWait = value.engine._selecting._client_wait
    these._availability = Counts(counts)  # type: ignore[assignment]  # it counts alone
    config = replace(
        training().config,
        round_policy=policy(max_wait_seconds=seconds),
        selection=SelectionConfig(min_clients=required, max_clients=required),
    )
    lack = NotEnoughClients(LACK.available, required, LACK.known, LACK.out)
    return await these.wait(
        value.lease if lease is None else lease, training(config=config), await value.stored(), lack, tries=tries
    )


async def test_a_wait_ends_as_soon_as_there_are_enough_clients(waiting: Owner) -> None:
    round_ = await wait(waiting, 0, 0, 1)
    assert waiting.clock.slept == [1.0, 2.0, 4.0]
    assert (round_.status, round_.waiting_since) == ("selecting", NOW)
    assert await waiting.stored() == round_
    progress = (await waiting.system.trainings.get("t")).progress
    assert progress is not None
    assert (progress.state, progress.since, progress.reason) == ("waiting", NOW, str(LACK))


async def test_pauses_are_longer_after_tries_in_vain(waiting: Owner) -> None:
    await wait(waiting, 0, 1, tries=2)
    await wait(waiting, 1, tries=1000)
    assert waiting.clock.slept == [4.0, 5.0, 5.0]


async def test_a_count_that_has_changed_is_reported_now_and_then(waiting: Owner) -> None:
    await wait(waiting, 0, 1, required=3)
    assert sum(waiting.clock.slept[:-1]) < REASON_SECONDS <= sum(waiting.clock.slept)


async def test_a_round_waits_for_its_longest_in_all_and_is_abandoned(waiting: Owner) -> None:
    round_ = await wait(waiting, 0, seconds=10.0)
    assert waiting.clock.slept == [1.0, 2.0, 4.0, 3.0]
    assert round_.status == "selecting", "it is planned once more before it is given up"
    ended = await wait(waiting, 0, seconds=10.0)
    assert len(waiting.clock.slept) == 4
    assert (ended.status, ended.failure_reason) == ("abandoned", f"{LACK}; the round waited for 10 s")
    assert (await waiting.stored()).status == "abandoned"
    selection = await waiting.system.selections.of_round("t", waiting.round_.number)
    assert [(out.client_id, out.reason) for out in selection.skipped] == list(LACK.out)


async def test_a_training_that_does_not_wait_abandons_its_round_at_once(waiting: Owner) -> None:
    ended = await wait(waiting, 1, seconds=0.0)
    assert (ended.status, ended.failure_reason, ended.waiting_since) == ("abandoned", str(LACK), None)
    assert waiting.clock.slept == []


async def test_a_process_without_the_lease_writes_nothing(waiting: Owner) -> None:
    lost = replace(waiting.lease, fence=waiting.lease.fence - 1)
    for seconds in (0.0, 10.0):
        with pytest.raises(Fenced):
            await wait(waiting, 0, seconds=seconds, lease=lost)
    assert await waiting.stored() == waiting.round_
    assert waiting.clock.slept == []


async def test_a_round_with_carried_tasks_waits_only_for_the_clients_that_it_lacks(waiting: Owner) -> None:
    """Two of the three places are taken by carried tasks, so that one client is enough."""
    these = waiting.engine._selecting._client_wait
    these._availability = Counts((0, 1))
    three = replace(
        training().config,
        round_policy=policy(max_wait_seconds=100.0),
        selection=SelectionConfig(min_clients=3, max_clients=3),
    )
    await these.wait(waiting.lease, training(config=three), await waiting.stored(), LACK, tries=0)
    assert waiting.clock.slept == [1.0, 2.0]
