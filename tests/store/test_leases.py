"""Leases with a fencing token, on both databases."""

import asyncio
from typing import get_args

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from app.domain.events.clients import ClientRemoved
from app.domain.trainings import TrainingStatus
from app.store.database import Database, is_outage
from app.store.leases import Claim, Fenced, Lease
from app.store.tables import trainings
from tests.store.samples import training

LONG = 3600.0
OVER = -1.0  # a lease of this many seconds was over before it began


async def add(db: Database, *names: str, status: TrainingStatus = "running") -> None:
    async with db.begin() as tx:
        for name in names:
            await tx.trainings.add(training(name, status=status))


async def claim(db: Database, owner: str = "a", seconds: float = LONG) -> Claim | None:
    async with db.begin() as tx:
        return await tx.leases.claim(owner, seconds)


async def take(db: Database, owner: str = "a", seconds: float = LONG) -> Lease:
    taken = await claim(db, owner, seconds)
    assert taken is not None
    return taken.lease


async def claimable(db: Database) -> bool:
    async with db.read() as tx:
        return await tx.leases.claimable()


async def owner(db: Database) -> tuple[str | None, int]:
    async with db.read() as tx:
        return tuple((await tx.connection.execute(select(trainings.c.owner, trainings.c.fence))).one())


async def seconds_left(db: Database) -> float:
    """How long the one lease holds still, by the database's clock."""
    async with db.read() as tx:
        return float((await tx.connection.execute(select(trainings.c.lease_until - db.clock))).scalar_one())


async def test_a_claim_raises_the_fence_and_names_the_owner_before(db: Database) -> None:
    await add(db, "t")
    assert await claim(db, "a", OVER) == Claim(Lease("t", "a", 1), None)
    assert await claim(db, "b", OVER) == Claim(Lease("t", "b", 2), "a")
    assert await owner(db) == ("b", 2)
    async with db.read() as tx:
        assert (await tx.trainings.get("t")).fence == 2


async def test_the_time_is_the_databases(db: Database) -> None:
    await add(db, "t")  # whatever this process takes for the time: nothing of it is asked
    await take(db, seconds=LONG)
    assert LONG - 60 < await seconds_left(db) <= LONG


async def test_whoever_asks_for_the_time_gets_the_databases(db: Database) -> None:
    async with db.read() as tx:
        before = (await tx.connection.execute(select(db.clock))).scalar_one()
        assert before <= await tx.now() <= before + 60


async def test_the_databases_clock_moves_within_a_transaction(db: Database) -> None:
    async with db.begin() as tx:
        first = (await tx.connection.execute(select(db.clock))).scalar_one()
        for _ in range(1000):
            later = (await tx.connection.execute(select(db.clock))).scalar_one()
            if later > first:
                break
        assert later > first


@pytest.mark.parametrize("status", get_args(TrainingStatus))
async def test_only_running_trainings_are_claimed(db: Database, status: TrainingStatus) -> None:
    await add(db, "t", status=status)
    assert await claimable(db) == (status == "running")
    assert (await claim(db) is not None) == (status == "running")


async def test_there_is_nothing_to_claim_while_leases_hold(db: Database) -> None:
    assert await claim(db) is None
    await add(db, "t")
    assert await claimable(db)
    await take(db)
    assert not await claimable(db)
    assert await claim(db, "b") is None


async def test_the_training_that_waits_longest_is_claimed_first_and_of_equal_ones_the_first_by_name(
    db: Database,
) -> None:
    await add(db, "u", "v", "t")
    assert [(await take(db, seconds=OVER)).training_id for _ in range(4)] == ["t", "u", "v", "t"]


async def test_releasing_lets_a_peer_take_over_at_once(db: Database) -> None:
    await add(db, "t")
    lease = await take(db)
    async with db.begin() as tx:
        await tx.leases.release(lease)
        assert await tx.leases.renew([lease], LONG) == set()  # which was under way as the work ended
    assert await owner(db) == (None, 1)
    assert await claim(db, "b") == Claim(Lease("t", "b", 2), None)


async def test_whoever_was_taken_over_from_can_do_nothing_more(db: Database) -> None:
    await add(db, "t")
    old = await take(db, "a", OVER)
    new = await take(db, "b")
    for call in ("guard", "release"):
        with pytest.raises(Fenced, match=r"^t$"):
            async with db.begin() as tx:
                await getattr(tx.leases, call)(old)
    assert await owner(db) == ("b", 2)
    async with db.begin() as tx:
        assert await tx.leases.renew([old], 2 * LONG) == set()
    assert await seconds_left(db) <= LONG
    async with db.begin() as tx:
        await tx.leases.guard(new)
        assert await tx.leases.holds(new)
        assert not await tx.leases.holds(old)
        assert await tx.leases.held([old, new, Lease("nobody's", "a", 1)]) == {new}
        assert await tx.leases.held([]) == set()


async def test_a_lease_that_is_over_still_guards_until_somebody_claims(db: Database) -> None:
    await add(db, "t")
    lease = await take(db, seconds=OVER)
    async with db.begin() as tx:
        assert await tx.leases.guard(lease) == await tx.trainings.get("t")


async def test_revoking_fences_the_owner(db: Database) -> None:
    await add(db, "t")
    lease = await take(db)
    async with db.begin() as tx:
        await tx.leases.revoke("t")
    assert await owner(db) == (None, 2)
    async with db.read() as tx:
        assert (await tx.connection.execute(select(trainings.c.lease_until))).scalar() == 0.0
    with pytest.raises(Fenced):
        async with db.begin() as tx:
            await tx.leases.guard(lease)
    assert await claim(db, "b") == Claim(Lease("t", "b", 3), None)


async def test_revoking_tells_whether_there_was_an_owner_to_stop(db: Database) -> None:
    async def revoked() -> bool:
        async with db.begin() as tx:
            return await tx.leases.revoke("t")

    await add(db, "t", "u")
    assert not await revoked(), "it was never claimed"
    assert [(await take(db)).training_id for _ in range(2)] == ["t", "u"]
    assert [await revoked(), await revoked()] == [True, False], "the owner of the other training does not count"
    await take(db, seconds=OVER)
    assert not await revoked(), "its lease was over"


async def test_a_training_that_is_not_there_is_held_by_nobody(db: Database) -> None:
    async with db.begin() as tx:
        assert not await tx.leases.holds(Lease("t", "a", 1))
        with pytest.raises(Fenced):
            await tx.leases.guard(Lease("t", "a", 1))


async def test_a_fenced_transaction_writes_nothing(db: Database) -> None:
    await add(db, "t")
    old, _ = await take(db, seconds=OVER), await take(db, "b")

    async def write() -> None:
        async with db.begin() as tx:
            await tx.events.append(ClientRemoved(client_id="written-by-a-zombie"))
            await tx.leases.guard(old)

    with pytest.raises(Fenced):
        await write()
    async with db.read() as tx:
        assert (await tx.events.after(0, limit=10)).items == []


async def test_many_claimants_at_once_share_the_trainings_without_overlap(db: Database) -> None:
    await add(db, *"tuvw")
    claims = await asyncio.gather(*(claim(db, f"replica {number}") for number in range(8)))
    taken = [one.lease.training_id for one in claims if one is not None]
    assert len(taken) == len(set(taken))
    while (more := await claim(db)) is not None:  # a claimant may have passed over a row that another one held
        taken.append(more.lease.training_id)
    assert sorted(taken) == ["t", "u", "v", "w"]


async def test_a_claimant_passes_over_what_another_one_is_claiming(postgres_url: str) -> None:
    db = Database(postgres_url)
    await add(db, "t", "u")
    async with asyncio.timeout(20), db.begin() as first, db.begin() as second, db.begin() as third:
        claims = [await tx.leases.claim("a", LONG) for tx in (first, second, third)]
    assert [one and one.lease.training_id for one in claims] == ["t", "u", None]
    await db.dispose()


async def test_a_takeover_waits_for_the_owners_transaction_and_then_stands(db: Database) -> None:
    await add(db, "t")
    old = await take(db, "a")
    guarded, go = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        async with db.begin() as tx:
            await tx.leases.guard(old)
            guarded.set()
            await go.wait()
            await tx.events.append(ClientRemoved(client_id="in-time"))

    async def revoke() -> None:
        async with db.begin() as tx:
            await tx.leases.revoke("t")

    writing = asyncio.create_task(write())
    await guarded.wait()
    revoking = asyncio.create_task(revoke())
    done, _ = await asyncio.wait([revoking], timeout=0.05)
    assert not done
    go.set()
    await asyncio.gather(writing, revoking)
    async with db.read() as tx:
        assert [event.type for event in (await tx.events.after(0, limit=10)).items] == ["client.removed"]
        assert not await tx.leases.holds(old)


async def test_an_owner_that_stands_still_in_a_transaction_is_rolled_back_by_the_server(postgres_url: str) -> None:
    """Its transaction holds the training's row: nobody could claim it, however long ago the lease was over."""
    stuck, peer = Database(postgres_url), Database(postgres_url)
    await add(peer, "t")
    lease = await take(peer, "a", OVER)

    async def stand_still() -> None:
        async with stuck.begin() as tx:
            shown = (await tx.connection.execute(text("SHOW idle_in_transaction_session_timeout"))).scalar_one()
            assert shown == "10s"
            await tx.connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 50"))
            await tx.leases.guard(lease)
            assert await claim(peer, "b") is None
            async with asyncio.timeout(20):
                while (taken := await claim(peer, "b")) is None:  # noqa: ASYNC110  (the server rings no bell)
                    await asyncio.sleep(0.01)
            assert taken.previous_owner == "a"
            await tx.leases.guard(lease)

    with pytest.raises(SQLAlchemyError) as raised:
        await stand_still()
    assert is_outage(raised.value)
    for database in (stuck, peer):
        await database.dispose()
