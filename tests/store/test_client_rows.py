"""What is remembered of the rows of clients, so that it is not parsed again."""

from dataclasses import replace

from app.store.database import Database
from tests.store.samples import client


async def test_only_short_texts_of_clients_are_remembered(db: Database) -> None:
    one, other = client("a"), client("b")
    long_tags = {str(number): "x" * 256 for number in range(5)}
    tags = one, replace(other, profile=replace(other.profile, tags=long_tags))
    async with db.begin() as tx:
        await tx.clients.add(tags)
    async with db.read() as tx:
        short, long = [(await tx.clients.get(name)).profile for name in "ab"]
        assert (await tx.clients.get("a")).profile is short
        again = (await tx.clients.get("b")).profile
    assert again == long
    assert again is not long
