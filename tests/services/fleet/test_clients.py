"""Registering a client beside others who remove it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.clients import Client
from app.domain.errors import NotFound
from app.services.fleet.clients import PUT_TRIES, Clients
from app.settings import HealthSettings
from app.store.availability import DatabaseUnavailable
from app.store.clients import ClientRepository
from app.store.database import Database
from app.store.transaction import Transaction
from tests.clocks import FakeClock
from tests.services.fakes import metrics, profile


class ContestedClients(ClientRepository):
    """Clients that somebody removes just before they are held."""

    def __init__(self, connection: AsyncConnection, db: "ContestedDatabase") -> None:
        super().__init__(connection)
        self._db = db

    async def get(self, client_id: str, *, for_update: bool = False, labels: bool = True) -> Client:
        if for_update and self._db.removals:
            self._db.removals -= 1
            if self._db.hidden:
                raise NotFound("client", client_id)
            if self._db.is_sqlite:  # its one writer is this transaction
                await self.remove(client_id)
            else:
                async with self._db.others.begin() as tx:
                    await tx.clients.remove(client_id)
        return await super().get(client_id, for_update=for_update, labels=labels)


class ContestedDatabase(Database):
    """A database in which others remove clients, `removals` times."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.others = Database(url)
        self.removals = 0
        self.hidden = False

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        async with super().begin() as tx:
            tx.clients = ContestedClients(tx.connection, self)
            yield tx


@pytest.fixture
async def contested(database_url: str) -> AsyncIterator[ContestedDatabase]:
    db = ContestedDatabase(database_url)
    yield db
    await db.dispose()
    await db.others.dispose()


def clients(db: Database) -> Clients:
    return Clients(db, FakeClock(), metrics(), HealthSettings())


async def test_a_client_that_is_removed_as_it_registers_again_is_new(contested: ContestedDatabase) -> None:
    _, is_new = await clients(contested).put("a", profile())
    assert is_new
    contested.removals = 1
    _, is_new = await clients(contested).put("a", profile("http://b"))
    assert is_new
    assert (await clients(contested).get("a")).profile.url == "http://b"
    _, is_new = await clients(contested).put("a", profile())
    assert not is_new


async def test_an_id_that_stays_contested_is_a_matter_of_time(contested: ContestedDatabase) -> None:
    await clients(contested).put("a", profile())
    contested.removals, contested.hidden = 2 * PUT_TRIES, True
    with pytest.raises(DatabaseUnavailable, match="client a was removed and registered again during 10 tries"):
        await clients(contested).put("a", profile())
    assert contested.removals == PUT_TRIES
