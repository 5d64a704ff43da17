"""Devices enrol: each gets an id and a key of its own, and an invitation is used as often as it allows."""

import asyncio
from typing import Any

import pytest

from app.domain.errors import CannotEnrol, InvitationNeeded, InvitationOver
from app.domain.principals import Principal
from app.services.access.keys import Unauthenticated
from app.services.fleet.clients import Clients
from app.settings import HealthSettings
from app.store.database import Database
from tcsfeel.errors import Invalid
from tcsfeel.identity import Identity
from tests.services.access.devices import Gate, gate, proof
from tests.services.fakes import TOKENS, metrics, profile


async def told(db: Database) -> list[tuple[str, str | None, dict[str, Any]]]:
    """What events say about clients that enrol."""
    async with db.read() as tx:
        found = (await tx.events.after(0, limit=1000)).items
    return [
        (one.type, one.client_id, dict(one.data)) for one in found if one.type in {"client.enrolled", "client.replaced"}
    ]


async def used(found: Gate, invitation_id: str) -> int:
    return (await found.invitations.get(invitation_id)).used


async def caller(found: Gate, text: str) -> str | None:
    """The client that a key belongs to; None if it is not valid."""
    try:
        return (await found.server.callers.identify(text)).client_id
    except Unauthenticated:
        return None


async def test_a_device_gets_a_key_for_its_own_client(db: Database) -> None:
    found, device = gate(db), Identity.make()
    new = await found.invite(id_pattern="edge-*", tags={"site": "north"})
    got = await found.enrol(new, "edge-7", device)
    assert (got.client_id, got.tags) == ("edge-7", {"site": "north"})
    assert got.server_public_key == Identity(found.server.secret.derive("signing")).public_key
    principal = await found.server.callers.identify(got.key.text)
    assert (principal.role, principal.client_id, principal.name) == ("agent", "edge-7", "agent edge-7")
    assert await used(found, new.invitation.id) == 1
    said = {"public_key": device.public_key, "invitation_id": new.invitation.id}
    assert await told(db) == [("client.enrolled", "edge-7", said)]
    client, _ = await found.clients.put("edge-7", profile(tags={"site": "mine", "rack": "3"}))
    assert (client.public_key, client.invitation_id) == (device.public_key, new.invitation.id)
    assert client.enrolled_at == found.server.clock.now()
    assert client.profile.tags == {"site": "north", "rack": "3"}
    assert await found.clients.get("edge-7") == client


async def test_the_tags_of_an_invitation_stay_whatever_a_client_sends(db: Database) -> None:
    found = gate(db)
    new = await found.invite(tags={"site": "north"})
    await found.enrol(new, "edge-7", Identity.make())
    (client,) = await found.clients.register([("edge-7", profile(tags={"site": "mine"}))])
    assert client.profile.tags == {"site": "north"}
    assert client.public_key is not None
    changed = await found.clients.change("edge-7", {"tags": {"rack": "3"}})
    assert changed.profile.tags == {"rack": "3", "site": "north"}
    replaced, is_new = await found.clients.put("edge-7", profile(tags={"site": ""}))
    assert (replaced.profile.tags, is_new) == ({"site": "north"}, False)
    assert await found.clients.get("edge-7") == replaced


async def test_a_client_that_is_registered_gets_the_public_key_of_the_device_that_enrols(db: Database) -> None:
    found, device = gate(db), Identity.make()
    before, _ = await found.clients.put("edge-7", profile())
    with pytest.raises(CannotEnrol, match="a client without a public key is registered under this id"):
        await found.enrol(await found.invite(), "edge-7", device)
    await found.enrol(await found.invite(id_pattern="edge-*", tags={"a": "b"}), "edge-7", device)
    after = await found.clients.get("edge-7")
    assert (after.public_key, after.profile.tags, after.created_at) == (
        device.public_key,
        {"a": "b"},
        before.created_at,
    )


async def test_an_id_is_made_for_a_device_that_wants_no_particular_one(db: Database) -> None:
    found, device = gate(db), Identity.make()
    new = await found.invite(2, id_pattern="edge-*-x")
    first = await found.enrol(new, None, device)
    again = await found.enrol(new, None, device)
    other = await found.enrol(new, None, Identity.make())
    assert first.client_id == again.client_id != other.client_id
    assert first.client_id.startswith("edge-")
    assert first.client_id.endswith("-x")
    assert await used(found, new.invitation.id) == 2


async def test_a_device_that_repeats_gets_a_new_key_and_uses_nothing_up(db: Database) -> None:
    found, device = gate(db), Identity.make()
    new = await found.invite()
    first = await found.enrol(new, "edge-7", device)
    assert await caller(found, first.key.text) == "edge-7"
    again = await found.enrol(new, "edge-7", device)
    assert await caller(found, first.key.text) is None
    assert await caller(found, again.key.text) == "edge-7"
    assert await used(found, new.invitation.id) == 1
    assert len(await told(db)) == 1


async def test_another_device_cannot_take_an_id_or_a_public_key(db: Database) -> None:
    found, device = gate(db), Identity.make()
    new = await found.invite(9)
    await found.enrol(new, "edge-7", device)
    with pytest.raises(CannotEnrol, match="another device has enrolled under this id"):
        await found.enrol(new, "edge-7", Identity.make())
    with pytest.raises(CannotEnrol, match="belongs to another client"):
        await found.enrol(new, "edge-8", device)
    assert await used(found, new.invitation.id) == 1


@pytest.mark.parametrize("uses", [1, 5])
async def test_many_devices_at_once_use_an_invitation_as_often_as_it_allows(db: Database, uses: int) -> None:
    found = gate(db)
    new = await found.invite(uses)
    tries = [found.enrol(new, f"edge-{number}", Identity.make()) for number in range(12)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    refused = [result for result in results if isinstance(result, InvitationOver)]
    assert len(refused) == 12 - uses
    assert sum(not isinstance(result, BaseException) for result in results) == uses
    assert await used(found, new.invitation.id) == uses
    assert len((await found.invitations.enrolments(new.invitation.id, limit=100)).items) == uses


async def test_of_devices_that_want_one_id_at_once_with_different_invitations_one_gets_it(db: Database) -> None:
    found = gate(db)
    invitations = [await found.invite() for _ in range(6)]
    results = await asyncio.gather(
        *(found.enrol(new, "edge-7", Identity.make()) for new in invitations), return_exceptions=True
    )
    assert sum(isinstance(result, CannotEnrol) for result in results) == 5
    (winner,) = [result for result in results if not isinstance(result, BaseException)]
    assert await caller(found, winner.key.text) == "edge-7"
    assert sum([await used(found, new.invitation.id) for new in invitations]) == 1


async def test_a_device_that_repeats_at_once_with_itself_has_one_valid_key(db: Database) -> None:
    found, device = gate(db), Identity.make()
    new = await found.invite()
    results = await asyncio.gather(*(found.enrol(new, "edge-7", device) for _ in range(5)))
    await found.server.callers.refresh()
    assert [await caller(found, result.key.text) for result in results].count("edge-7") == 1
    assert await used(found, new.invitation.id) == 1


async def test_a_lost_device_is_replaced_and_its_key_is_revoked_at_once(db: Database) -> None:
    found, lost, device = gate(db), Identity.make(), Identity.make()
    old = await found.enrol(await found.invite(tags={"site": "north"}), "edge-7", lost)
    before, _ = await found.clients.put("edge-7", profile())
    replacement = await found.invitations.replace("edge-7", lifetime_seconds=60)
    with pytest.raises(Invalid) as refused:
        await found.enrol(replacement, "edge-8", device)
    assert refused.value.pointer == "/client_id"
    assert await caller(found, old.key.text) == "edge-7"
    got = await found.enrol(replacement, None, device)
    assert (got.client_id, got.tags) == ("edge-7", {"site": "north"})
    assert await caller(found, old.key.text) is None
    assert await caller(found, got.key.text) == "edge-7"
    after = await found.clients.get("edge-7")
    assert (after.public_key, after.created_at) == (device.public_key, before.created_at)
    said = {"public_key": device.public_key, "invitation_id": replacement.invitation.id, "was": lost.public_key}
    assert (await told(db))[1:] == [("client.replaced", "edge-7", said)]
    with pytest.raises(InvitationOver, match="has been used up"):
        await found.enrol(replacement, None, Identity.make())


async def test_a_device_whose_last_key_is_revoked_gets_no_tasks_until_another_takes_its_place(db: Database) -> None:
    found = gate(db)
    got = await found.enrol(await found.invite(), "edge-7", Identity.make())
    await found.clients.put("edge-7", profile())
    spare = await found.server.keys.create(name="spare", role="agent", client_id="edge-7")
    await found.server.keys.revoke(got.key.key.id)
    assert not (await found.clients.get("edge-7")).identity.shut_out, "it has another valid key"
    await found.server.keys.revoke(spare.key.id)
    assert str((await found.clients.get("edge-7")).unproven).startswith("shut out: ")
    replacement = await found.invitations.replace("edge-7", lifetime_seconds=60)
    await found.enrol(replacement, None, Identity.make())
    assert not (await found.clients.get("edge-7")).identity.shut_out


async def test_a_client_that_is_shut_out_is_let_in_by_another_key(db: Database) -> None:
    found = gate(db)
    first = await found.server.keys.create(name="by hand", role="agent", client_id="plain-1")
    await found.clients.put("plain-1", profile())
    await found.server.keys.revoke(first.key.id)
    assert (await found.clients.get("plain-1")).identity.shut_out
    await found.server.keys.create(name="by hand again", role="agent", client_id="plain-1")
    assert (await found.clients.get("plain-1")).unproven is None


async def test_a_replacement_ends_keys_that_an_admin_made_for_a_client_that_never_enrolled(db: Database) -> None:
    found = gate(db)
    made = await found.server.keys.create(name="by hand", role="agent", client_id="plain-1")
    await found.clients.put("plain-1", profile())
    replacement = await found.invitations.replace("plain-1", lifetime_seconds=60)
    assert await caller(found, made.text) == "plain-1"
    await found.enrol(replacement, None, Identity.make())
    assert await caller(found, made.text) is None


async def test_a_device_whose_key_was_revoked_cannot_come_back_by_itself(db: Database) -> None:
    found, device = gate(db), Identity.make()
    new = await found.invite(9)
    got = await found.enrol(new, "edge-7", device)
    await found.server.keys.create(name="spare", role="agent", client_id="edge-7")
    await found.server.keys.revoke(got.key.key.id)
    with pytest.raises(CannotEnrol, match="the key of this client has been revoked"):
        await found.enrol(new, "edge-7", device)
    replacement = await found.invitations.replace("edge-7", lifetime_seconds=60)
    assert await caller(found, (await found.enrol(replacement, "edge-7", device)).key.text) == "edge-7"


async def test_a_client_that_is_removed_takes_its_key_with_it_and_keeps_its_id_from_others(db: Database) -> None:
    found, device = gate(db), Identity.make()
    new = await found.invite(9)
    got = await found.enrol(new, "edge-7", device)
    await found.clients.put("edge-7", profile())
    await found.clients.remove("edge-7")
    assert await caller(found, got.key.text) is None
    for one in (device, Identity.make()):
        with pytest.raises(CannotEnrol):
            await found.enrol(new, "edge-7", one)
    replacement = await found.invitations.replace("edge-7", lifetime_seconds=60)
    await found.enrol(replacement, "edge-7", Identity.make())
    assert (await found.clients.put("edge-7", profile()))[1]


@pytest.mark.parametrize("ends", ["expires", "is revoked"])
async def test_an_invitation_that_is_over_admits_nobody(db: Database, ends: str) -> None:
    found = gate(db)
    new = await found.invite(9)
    if ends == "expires":
        found.server.pass_seconds(100_000)
    else:
        await found.invitations.revoke(new.invitation.id)
    with pytest.raises(InvitationOver, match="has expired" if ends == "expires" else "has been revoked"):
        await found.enrol(new, "edge-7", Identity.make())
    assert await told(db) == []


async def test_a_device_has_to_have_the_private_key(db: Database) -> None:
    found, device, other = gate(db), Identity.make(), Identity.make()
    new = await found.invite(9)
    id_ = new.invitation.id
    wrong = {
        "the signature of another device": proof(other, id_, "edge-7"),
        "for another invitation": proof(device, "0" * 16, "edge-7"),
        "for another id": proof(device, id_, "edge-8"),
        "for an id that the server chooses": proof(device, id_, None),
        "nothing": bytes(64),
    }
    for name, given in wrong.items():
        with pytest.raises(Invalid) as refused:
            await found.enrolments.enrol(new.invitation, client_id="edge-7", public_key=device.public_key, proof=given)
        assert refused.value.pointer == "/proof", name
    weak = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"  # a point of which anybody can sign
    with pytest.raises(Invalid) as refused:
        await found.enrolments.enrol(new.invitation, client_id="edge-7", public_key=weak, proof=bytes(64))
    assert refused.value.pointer == "/public_key"
    assert await used(found, id_) == 0


async def test_where_keys_register_nobody_an_operator_registers_only_devices_that_have_enrolled(
    db: Database,
) -> None:
    found, operator = gate(db), Principal("operator", "ci", "k")
    strict = Clients(
        db, found.server.clock, metrics(), HealthSettings(), TOKENS, keys=found.server.keys, register_by_key=False
    )
    await found.enrol(await found.invite(), "edge-7", Identity.make())
    with pytest.raises(InvitationNeeded):
        await strict.put("edge-8", profile(), by=operator)
    with pytest.raises(InvitationNeeded):
        await strict.register([("edge-7", profile()), ("edge-8", profile())], by=operator)
    client, _ = await strict.put("edge-7", profile(), by=operator)
    assert client.public_key is not None
