"""A request that is repeated with its key gives the first one's resource again."""

import pytest

from app.services.trainings.idempotency import IdempotentRequest, KeyReused
from app.store.database import Database
from tests.store.samples import NOW

FIRST = IdempotentRequest("trainings", "k", "a" * 64)


async def claim(db: Database, request: IdempotentRequest, resource: str) -> str | None:
    async with db.begin() as tx:
        return await request.claim(tx, resource, NOW)


async def test_a_repeated_request_is_given_the_resource_of_the_first(db: Database) -> None:
    assert await claim(db, FIRST, "t1") is None
    assert await claim(db, FIRST, "t2") == "t1"
    assert await claim(db, FIRST, "t3") == "t1"


async def test_a_key_does_not_serve_for_another_request(db: Database) -> None:
    await claim(db, FIRST, "t1")
    with pytest.raises(KeyReused, match="the Idempotency-Key 'k' was used for another request") as refused:
        await claim(db, IdempotentRequest("trainings", "k", "b" * 64), "t2")
    assert refused.value.key == "k"
    assert await claim(db, FIRST, "t3") == "t1"


async def test_the_same_key_in_another_scope_is_another_key(db: Database) -> None:
    await claim(db, FIRST, "t1")
    assert await claim(db, IdempotentRequest("rounds", "k", "b" * 64), "2") is None
