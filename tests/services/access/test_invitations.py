"""Invitations are made, found by their secrets, and revoked."""

import pytest

from app.domain.errors import NotFound, WrongInvitation
from app.store.database import Database
from tcsfeel.identity import Identity
from tcsfeel.wire.enrolment import invitation_of, invitation_secret
from tests.services.access.devices import DAY, gate
from tests.services.fakes import profile


async def events(db: Database) -> list[tuple[str, dict[str, object]]]:
    async with db.read() as tx:
        return [(one.type, dict(one.data)) for one in (await tx.events.after(0, limit=100)).items]


async def test_an_invitation_is_made_and_its_secret_is_not_stored(db: Database) -> None:
    found = gate(db)
    now = found.server.clock.now()
    new = await found.invitations.create(
        uses=5, lifetime_seconds=DAY, id_pattern="edge-*", tags={"site": "north"}, name="first"
    )
    one = new.invitation
    assert invitation_of(new.secret) == one.id
    assert new.secret not in repr(new)
    assert await found.invitations.get(one.id) == one
    assert (one.uses, one.used, one.name, one.id_pattern, one.tags) == (5, 0, "first", "edge-*", {"site": "north"})
    assert (one.created_at, one.expires_at, one.replaces) == (now, now + DAY, None)
    assert one.secret_hash == found.server.secret.keyed_hash(new.secret)
    assert found.invitations.state(one) == "open"
    assert await events(db) == [
        (
            "invitation.created",
            {
                "invitation_id": one.id,
                "name": "first",
                "uses": 5,
                "id_pattern": "edge-*",
                "replaces": None,
                "expires_at": now + DAY,
            },
        )
    ]


async def test_an_invitation_is_found_by_its_secret_alone(db: Database) -> None:
    found = gate(db)
    new, other = await found.invite(), await found.invite()
    assert await found.invitations.shown(new.secret) == new.invitation
    random = other.secret.rpartition("_")[2]
    wrong = [
        None,
        "",
        new.invitation.id,
        "an-admin-key-for-tests",
        new.secret[:-1],
        invitation_secret(new.invitation.id, random),
        invitation_secret("0" * 16, random),
    ]
    said = set()
    for secret in wrong:
        with pytest.raises(WrongInvitation) as refused:
            await found.invitations.shown(secret)
        said.add(str(refused.value))
    await found.invitations.revoke(new.invitation.id)
    with pytest.raises(WrongInvitation) as refused:
        await found.invitations.shown(invitation_secret(new.invitation.id, random))
    assert said == {str(refused.value)}  # which tells a stranger nothing


async def test_a_revoked_invitation_stays_revoked_from_the_first_time(db: Database) -> None:
    found = gate(db)
    new = await found.invite()
    now = found.server.clock.now()
    await found.invitations.revoke(new.invitation.id)
    found.server.pass_seconds(10)
    await found.invitations.revoke(new.invitation.id)
    one = await found.invitations.get(new.invitation.id)
    assert (one.revoked_at, found.invitations.state(one)) == (now, "revoked")
    assert (await events(db))[1:] == [("invitation.revoked", {"invitation_id": one.id, "used": 0})]
    with pytest.raises(NotFound):
        await found.invitations.revoke("other")


async def test_invitations_are_listed_newest_first(db: Database) -> None:
    found = gate(db)
    made = []
    for _ in range(3):
        made.append((await found.invite()).invitation)
        found.server.pass_seconds(1)
    page = await found.invitations.page(limit=2)
    assert (page.items, page.more) == (made[:0:-1], True)
    rest = await found.invitations.page(limit=2, after=(made[1].created_at, made[1].id))
    assert (rest.items, rest.more) == (made[:1], False)


async def test_the_devices_of_an_invitation_are_listed(db: Database) -> None:
    found = gate(db)
    new = await found.invite(3)
    for name in ("b", "a", "c"):
        await found.enrol(new, name, Identity.make())
    page = await found.invitations.enrolments(new.invitation.id, limit=2)
    assert ([one.client_id for one in page.items], page.more) == (["a", "b"], True)
    rest = await found.invitations.enrolments(new.invitation.id, limit=2, after="b")
    assert ([one.client_id for one in rest.items], rest.more) == (["c"], False)
    with pytest.raises(NotFound):
        await found.invitations.enrolments("other", limit=1)


async def test_a_replacement_is_for_one_device_of_a_client_that_exists(db: Database) -> None:
    found = gate(db)
    with pytest.raises(NotFound, match="there is no client 'edge-7'"):
        await found.invitations.replace("edge-7", lifetime_seconds=60)
    await found.clients.put("edge-7", profile())
    bare = (await found.invitations.replace("edge-7", lifetime_seconds=60)).invitation
    assert (bare.uses, bare.id_pattern, bare.replaces, bare.tags) == (1, "edge-7", "edge-7", {})
    assert bare.expires_at == bare.created_at + 60
    await found.enrol(await found.invite(id_pattern="*", tags={"site": "north"}), "edge-7", Identity.make())
    await found.clients.remove("edge-7")
    tagged = (await found.invitations.replace("edge-7", lifetime_seconds=60)).invitation
    assert tagged.tags == {"site": "north"}
