"""What is stored of an interruption, and when a round is given up for it.

Covers: app.services.running.interruptions
"""

import asyncio
import errno

import pytest
from sqlalchemy.exc import OperationalError

from app.domain.patience import MAX_STEP_FAILURES, MAX_TAKEOVERS
from app.domain.rounds import Round
from app.metrics import Metrics
from app.services.rounds.opening import begin_round
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.progress import ProgressRecord
from app.services.running.interruptions import Interruptions, is_passing
from app.store.availability import DatabaseUnavailable
from app.store.database import Database
from app.store.leases import Fenced, Lease
from tests.clocks import FakeClock
from tests.store.samples import training

NOW = 1_000_000.0
FULL = OSError(errno.ENOSPC, "No space left on device", "/a/path/of/ours")


class Owner:
    """The owner of a training whose first round is open, and the reasons for which it gave the round up."""

    def __init__(self, db: Database, counts: Metrics, lease: Lease) -> None:
        self.db = db
        self.lease = lease
        self.gave_up: list[str] = []
        progress = ProgressRecord(FakeClock(NOW), counts)
        self.interruptions = Interruptions(OwnedTransactions(db), progress, counts, self._give_up)

    async def _give_up(self, lease: Lease, round_: Round, why: str) -> Round:
        assert (lease, round_.number) == (self.lease, 1)
        self.gave_up.append(why)
        return round_

    async def round(self) -> Round:
        async with self.db.read() as tx:
            return await tx.rounds.get("t", 1)

    async def progress(self) -> tuple[str, str | None] | None:
        async with self.db.read() as tx:
            progress = (await tx.trainings.get("t")).progress
        return None if progress is None else (progress.state, progress.reason)


@pytest.fixture
async def owner(db: Database, counts: Metrics) -> Owner:
    async with db.begin() as tx:
        await tx.trainings.add(training(status="running"))
        claim = await tx.leases.claim("one", 600)
        assert claim is not None
        begun, _ = await begin_round(tx, await tx.trainings.get("t"), NOW)
        await tx.trainings.put(begun)
    return Owner(db, counts, claim.lease)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (FULL, True),
        (ConnectionResetError(), True),
        (DatabaseUnavailable("gone"), True),
        (OperationalError("UPDATE", {}, OSError("reset")), True),
        (KeyError("a bug"), False),
        (MemoryError(), False),
        (asyncio.InvalidStateError(), False),
    ],
)
def test_trouble_of_the_machine_or_the_database_may_pass_and_a_bug_does_not(
    error: BaseException, passing: bool
) -> None:
    assert is_passing(error) == passing


async def test_the_first_trouble_that_may_pass_is_not_recorded_and_the_second_is(owner: Owner) -> None:
    await owner.interruptions.meet(owner.lease, FULL, in_a_row=1, lost=0.0)
    assert await owner.progress() is None
    assert owner.interruptions.finding() == "ok"
    await owner.interruptions.meet(owner.lease, FULL, in_a_row=2, lost=1.0)
    progress = await owner.progress()
    assert progress is not None
    assert progress[0] == "stalled"
    assert str(progress[1]).startswith("OSError: [Errno 28] No space left on device")
    finding = owner.interruptions.finding()
    assert finding.startswith("1 trainings have made no progress for ")
    assert finding.endswith(" s: OSError: No space left on device"), "strangers may read it, so it holds no path"
    assert (await owner.round()).step_failures == 0
    assert owner.gave_up == []
    owner.interruptions.over("t")
    assert owner.interruptions.finding() == "ok"


async def test_an_outage_of_an_agents_or_a_buckets_connection_is_no_finding_of_this_machine(owner: Owner) -> None:
    await owner.interruptions.meet(owner.lease, ConnectionResetError("reset"), in_a_row=2, lost=0.0)
    assert await owner.progress() == ("stalled", "ConnectionResetError: reset")
    assert owner.interruptions.finding() == "ok"


async def test_a_bug_is_recorded_at_once_and_the_third_of_a_step_gives_the_round_up(owner: Owner) -> None:
    for failures in range(1, MAX_STEP_FAILURES + 1):
        assert owner.gave_up == []
        await owner.interruptions.meet(owner.lease, KeyError("a bug"), in_a_row=1, lost=0.0)
        assert (await owner.round()).step_failures == failures
    assert owner.gave_up == ["the server failed 3 times while the round was selecting: KeyError: 'a bug'"]


async def test_a_round_that_lost_more_time_than_it_may_wait_is_given_up(owner: Owner) -> None:
    async with owner.db.read() as tx:
        longest = (await tx.trainings.get("t")).config.round_policy.max_wait_seconds
    await owner.interruptions.meet(owner.lease, FULL, in_a_row=9, lost=longest - 1)
    assert owner.gave_up == []
    await owner.interruptions.meet(owner.lease, FULL, in_a_row=10, lost=longest)
    assert owner.gave_up[0].startswith(
        f"the round made no progress for {longest:.0f} s while it was selecting: OSError"
    )


async def test_the_second_takeover_of_a_step_stalls_the_training_and_the_tenth_gives_the_round_up(owner: Owner) -> None:
    await owner.interruptions.taken_over(owner.lease)
    assert ((await owner.round()).takeovers, await owner.progress()) == (1, None)
    await owner.interruptions.taken_over(owner.lease)
    reason = "2 servers in a row crashed or hung while the round was selecting"
    assert await owner.progress() == ("stalled", reason)
    for _ in range(MAX_TAKEOVERS - 2):
        assert owner.gave_up == []
        await owner.interruptions.taken_over(owner.lease)
    assert owner.gave_up == ["10 servers in a row crashed or hung while the round was selecting"]


async def test_an_owner_that_lost_its_lease_records_nothing(owner: Owner) -> None:
    async with owner.db.begin() as tx:
        await tx.leases.revoke("t")
    with pytest.raises(Fenced):
        await owner.interruptions.meet(owner.lease, KeyError("a bug"), in_a_row=1, lost=0.0)
    with pytest.raises(Fenced):
        await owner.interruptions.taken_over(owner.lease)
    assert ((await owner.round()).takeovers, (await owner.round()).step_failures) == (0, 0)
    assert await owner.progress() is None
