"""Which of the server's secrets made the hash of a key.

Covers: app.services.access.api_keys
"""

from app.store.database import Database
from tests.services.access.replicas import server

OLD, NEW = "an old secret of 32 characters…".encode().hex(), "a new secret of 32 characters…".encode().hex()


async def test_valid_keys_whose_secret_the_server_does_not_have_are_counted(db: Database) -> None:
    before = server(db, secrets=(OLD,))
    keys = [await before.keys.create(name=f"k{number}", role="viewer") for number in range(3)]
    await before.keys.revoke(keys[0].key.id)
    found = [await server(db, secrets=have).keys.of_other_secrets() for have in ((OLD,), (NEW, OLD), (NEW,))]
    assert found == [0, 0, 2]


async def test_a_key_that_is_used_belongs_to_the_newest_secret_from_then_on(db: Database) -> None:
    new = await server(db, secrets=(OLD,)).keys.create(name="k", role="viewer")
    both = server(db, secrets=(NEW, OLD))
    await both.callers.identify(new.text)
    await both.callers.write()
    assert await server(db, secrets=(OLD,)).keys.of_other_secrets() == 1
    assert await server(db, secrets=(NEW,)).keys.of_other_secrets() == 0
