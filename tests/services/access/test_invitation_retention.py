"""Invitations that ended long ago are removed, and those that devices may still use stay."""

from app.services.access.invitation_retention import InvitationRetention
from app.services.access.invitations import Invitations
from app.services.access.secrets import ServerSecret
from app.store.database import Database
from tests.clocks import FakeClock

DAY = 86_400.0


async def test_an_invitation_is_removed_a_time_after_it_has_expired_or_was_revoked(db: Database) -> None:
    clock = FakeClock()
    invitations = Invitations(db, clock, ServerSecret([b"the secret of the server in tests"]))
    retention = InvitationRetention(db, clock, days=3)
    made = {}
    for name, days in (("short", 1), ("long", 9), ("revoked", 9)):
        made[name] = (await invitations.create(uses=1, lifetime_seconds=days * DAY, name=name)).invitation
    await invitations.revoke(made["revoked"].id)
    async with db.begin() as tx:  # as an enrolment does
        await tx.invitations.put(made["long"].used_once_more())

    async def left() -> set[str | None]:
        await retention.tick()
        return {one.name for one in (await invitations.page(limit=10)).items}

    clock.advance(2.9 * DAY)
    assert await left() == {"short", "long", "revoked"}
    clock.advance(0.2 * DAY)
    assert await left() == {"short", "long"}
    clock.advance(DAY)
    assert await left() == {"long"}, "it is used up, and its device may still repeat its enrolment"
    clock.advance(9 * DAY)
    assert await left() == set()
