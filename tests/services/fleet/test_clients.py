"""What is known of clients, and registering one beside others who remove it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.breaker import Breaker
from app.domain.clients import Client
from app.domain.errors import AlreadyExists, NotFound
from app.domain.failures import Failure
from app.metrics import CLIENT_STATUSES
from app.services.fleet.clients import PUT_TRIES, Clients
from app.settings import HealthSettings
from app.store.availability import DatabaseUnavailable
from app.store.clients import ClientRepository
from app.store.database import Database
from app.store.transaction import Transaction
from tests.clocks import FakeClock
from tests.services.access.replicas import server
from tests.services.fakes import TOKENS, metrics, profile
from tests.store.samples import client

NOW = 1_000_000.0  # of a fake clock


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
    return Clients(db, FakeClock(NOW), metrics(), HealthSettings(), TOKENS, keys=server(db).keys)


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


async def told(db: Database) -> list[tuple[str, str | None, Mapping[str, Any]]]:
    async with db.read() as tx:
        return [(event.type, event.client_id, event.data) for event in (await tx.events.after(0, limit=100)).items]


async def test_clients_are_registered_together_or_not_at_all(db: Database) -> None:
    made = await clients(db).register([("a", profile())], {"a": "one"})
    assert [(one.id, one.created_at, one.updated_at, one.status) for one in made] == [("a", NOW, NOW, "healthy")]
    assert await clients(db).get("a") == made[0]
    await clients(db).register([("b", profile("http://b")), ("c", profile("http://c"))])
    with pytest.raises(AlreadyExists, match="client 'b' is already registered"):
        await clients(db).register([("b", profile()), ("d", profile())])
    with pytest.raises(NotFound):
        await clients(db).get("d")
    assert await told(db) == [
        ("client.registered", "a", {"url": "http://agent"}),
        ("clients.registered", None, {"count": 2}),
    ]


async def test_a_client_that_moves_to_another_host_forgets_its_token(db: Database) -> None:
    await clients(db).register([("a", profile(auth_token="s3cret-token"))])
    changed = await clients(db).change("a", {"data_size": 20})
    assert (changed.profile.data_size, TOKENS.opened(changed.profile.auth_token or "")) == (20, "s3cret-token")
    moved = await clients(db).change("a", {"url": "http://elsewhere"})
    assert (moved.profile.url, moved.profile.auth_token) == ("http://elsewhere", None)
    assert (await clients(db).get("a")).profile == profile("http://elsewhere", data_size=20)
    events = [(kind, data["fields"], data["was"], data["token_forgotten"]) for kind, _, data in (await told(db))[1:]]
    assert events == [
        ("client.updated", ["data_size"], None, False),
        ("client.updated", ["url"], "http://agent", True),
    ]
    with pytest.raises(NotFound):
        await clients(db).change("b", {"data_size": 20})


async def test_a_heartbeat_makes_a_client_healthy_and_measures_its_link(db: Database) -> None:
    async with db.begin() as tx:
        await tx.clients.add([client("a", status="down", last_seen_at=1.0)])
    await clients(db).heartbeat("a", bandwidth=80.0, latency=None)
    seen = await clients(db).get("a")
    assert (seen.status, seen.last_seen_at) == ("healthy", NOW)
    assert (seen.measured.bandwidth, seen.measured.latency) == (80.0, None)
    await clients(db).heartbeat("a", bandwidth=None, latency=None)
    assert (await clients(db).get("a")).measured == seen.measured
    assert await told(db) == [("client.healthy", "a", {"was": "down"})]
    with pytest.raises(NotFound):
        await clients(db).heartbeat("b", bandwidth=None, latency=None)


async def test_a_client_that_comes_back_is_probed_without_waiting_for_its_breaker(db: Database) -> None:
    failure = Failure(phase="fit", reason="no answer", kind="unreachable")
    shut_out = Breaker(state="open", openings=1, opened_at=NOW - 4, retry_at=NOW + 26, last_failures=(failure,))
    async with db.begin() as tx:
        await tx.clients.add([client(name, status="suspect", breaker=shut_out) for name in "ab"])
    await clients(db).heartbeat("a", bandwidth=None, latency=None)
    await clients(db).put("b", profile())
    for name in "ab":
        assert (await clients(db).get(name)).breaker == replace(shut_out, retry_at=NOW)


async def test_clients_come_in_pages_in_the_order_of_their_ids(db: Database) -> None:
    async with db.begin() as tx:
        await tx.clients.add([client(name, status="down" if name == "b" else "healthy") for name in "cab"])
    first = await clients(db).page(limit=2, after=None, status=None, tags=())
    assert ([one.id for one in first.items], first.more) == (["a", "b"], True)
    rest = await clients(db).page(limit=2, after="b", status=None, tags=())
    assert ([one.id for one in rest.items], rest.more) == (["c"], False)
    down = await clients(db).page(limit=2, after=None, status="down", tags=())
    assert [one.id for one in down.items] == ["b"]


async def test_a_client_is_removed_once(db: Database) -> None:
    await clients(db).register([("a", profile())])
    await clients(db).remove("a")
    with pytest.raises(NotFound):
        await clients(db).remove("a")
    assert [kind for kind, _, _ in await told(db)] == ["client.registered", "client.removed"]


async def test_the_metrics_get_the_number_of_clients_in_each_status(db: Database) -> None:
    counts = metrics()
    async with db.begin() as tx:
        await tx.clients.add([client("a"), client("b"), client("c", status="suspect")])
    await clients(db).count(counts)
    shown = [counts.registry.get_sample_value("federated_clients", {"status": status}) for status in CLIENT_STATUSES]
    assert dict(zip(CLIENT_STATUSES, shown, strict=True)) == {"healthy": 2, "suspect": 1, "down": 0}
    assert counts.registry.get_sample_value("federated_open_breakers") == 0
