"""What an Idempotency-Key stands for, on both databases."""

import asyncio

import pytest

from app.store.database import Database
from app.store.idempotency import Remembered
from tests.store.samples import NOW

FIRST, SECOND = Remembered("t1", "a" * 64), Remembered("t2", "b" * 64)


async def claim(db: Database, key: str, claimed: Remembered, scope: str = "trainings") -> Remembered | None:
    async with db.begin() as tx:
        return await tx.idempotency.claim(scope, key, claimed, NOW)


async def test_the_first_claim_stands_and_later_ones_are_given_it(db: Database) -> None:
    assert await claim(db, "k", FIRST) is None
    assert await claim(db, "k", SECOND) == FIRST
    assert await claim(db, "k", FIRST) == FIRST


async def test_keys_are_apart_and_so_are_scopes(db: Database) -> None:
    assert await claim(db, "k", FIRST) is None
    assert await claim(db, "K", SECOND) is None
    assert await claim(db, "k", SECOND, scope="rounds") is None


async def test_a_claim_that_is_rolled_back_leaves_the_key_free(db: Database) -> None:
    async def fail() -> None:
        async with db.begin() as tx:
            await tx.idempotency.claim("trainings", "k", FIRST, NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await claim(db, "k", SECOND) is None


async def test_of_two_claims_at_once_one_stands_and_both_learn_which(db: Database) -> None:
    for number in range(5):
        answers = await asyncio.gather(claim(db, str(number), FIRST), claim(db, str(number), SECOND))
        assert tuple(answers) in ((None, FIRST), (SECOND, None))


async def test_the_second_claim_waits_for_the_first_and_takes_over_if_it_rolls_back(db: Database) -> None:
    claimed, fail = asyncio.Event(), asyncio.Event()

    async def failing() -> None:
        async with db.begin() as tx:
            await tx.idempotency.claim("trainings", "k", FIRST, NOW)
            claimed.set()
            await fail.wait()
            raise ZeroDivisionError

    first = asyncio.create_task(failing())
    await claimed.wait()
    second = asyncio.create_task(claim(db, "k", SECOND))
    done, _ = await asyncio.wait([second], timeout=0.05)
    assert not done
    fail.set()
    assert await second is None
    with pytest.raises(ZeroDivisionError):
        await first
