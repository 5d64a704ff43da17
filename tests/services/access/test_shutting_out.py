"""A device whose last key was revoked gets no tasks, however its client is registered or changed afterwards."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.store.database import Database
from tcsfeel.identity import Identity
from tests.services.access.devices import Gate, gate
from tests.services.fakes import profile

Registration = Callable[[Gate], Awaitable[object]]


async def put(found: Gate) -> None:
    await found.clients.put("edge-7", profile())


async def register(found: Gate) -> None:
    await found.clients.register([("edge-6", profile()), ("edge-7", profile())])


async def is_shut_out(found: Gate) -> bool:
    return (await found.clients.get("edge-7")).identity.shut_out


@pytest.mark.parametrize("registration", [put, register])
async def test_a_client_that_is_registered_after_its_key_was_revoked_is_shut_out(
    db: Database, registration: Registration
) -> None:
    found = gate(db)
    got = await found.enrol(await found.invite(), "edge-7", Identity.make())
    await found.server.keys.revoke(got.key.key.id)
    await registration(found)
    assert await is_shut_out(found)
    replacement = await found.invitations.replace("edge-7", lifetime_seconds=60)
    await found.enrol(replacement, None, Identity.make())
    assert not await is_shut_out(found)


@pytest.mark.parametrize("registration", [put, register])
async def test_a_client_that_was_removed_and_is_registered_again_is_shut_out(
    db: Database, registration: Registration
) -> None:
    found = gate(db)
    await found.enrol(await found.invite(), "edge-7", Identity.make())
    await put(found)
    await found.clients.remove("edge-7")
    await registration(found)
    assert await is_shut_out(found)


@pytest.mark.parametrize("changes", [{"tags": {"rack": "3"}}, {"url": "http://10.0.0.9:9000"}])
async def test_a_change_of_a_client_does_not_let_it_in(db: Database, changes: dict[str, object]) -> None:
    found = gate(db)
    got = await found.enrol(await found.invite(tags={"site": "north"}), "edge-7", Identity.make())
    await put(found)
    await found.server.keys.revoke(got.key.key.id)
    await found.clients.change("edge-7", changes)
    assert await is_shut_out(found)
    await put(found)
    assert await is_shut_out(found)


@pytest.mark.parametrize("registration", [put, register])
async def test_a_client_with_a_valid_key_or_without_any_is_let_in(db: Database, registration: Registration) -> None:
    found = gate(db)
    got = await found.enrol(await found.invite(), "edge-7", Identity.make())
    rotated = await found.server.keys.rotate(got.key.key.id)
    await found.server.keys.revoke(got.key.key.id)
    await registration(found)
    assert not await is_shut_out(found)
    await found.clients.put("plain-1", profile())
    assert not (await found.clients.get("plain-1")).identity.shut_out
    await found.server.keys.revoke(rotated.key.id)
    assert await is_shut_out(found)


async def test_a_key_that_is_revoked_while_its_client_is_registered_shuts_it_out(db: Database) -> None:
    found = gate(db)
    for number in range(5):
        name = f"edge-{number}"
        got = await found.enrol(await found.invite(), name, Identity.make())
        await asyncio.gather(found.clients.put(name, profile()), found.server.keys.revoke(got.key.key.id))
        assert (await found.clients.get(name)).identity.shut_out
