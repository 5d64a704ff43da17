"""An enrolment that fails in the middle changes nothing: no key is revoked, and no use of the invitation is counted.

Covers: app.services.access.enrolments
"""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.store.database import Database
from tcsfeel.identity import Identity
from tests.services.access.devices import gate

# The enrolment is written after the keys of its client are revoked and before the use of its invitation is counted.
REFUSE = "CREATE TRIGGER refuse BEFORE UPDATE ON enrolments BEGIN SELECT RAISE(ABORT, 'refused'); END"


async def test_the_keys_of_a_client_stay_valid_if_its_enrolment_cannot_be_written(sqlite: Database) -> None:
    found, device = gate(sqlite), Identity.make()
    new = await found.invite(2)
    first = await found.enrol(new, "edge-7", device)
    made = await found.server.keys.create(name="spare", role="agent", client_id="edge-7")
    async with sqlite.begin() as tx:
        await tx.connection.execute(text(REFUSE))
        events = len((await tx.events.after(0, limit=100)).items)
    with pytest.raises(DBAPIError, match="refused"):
        await found.enrol(new, "edge-7", device)
    for key in (first.key.text, made.text):
        assert (await found.server.callers.identify(key)).client_id == "edge-7"
    assert (await found.invitations.get(new.invitation.id)).used == 1
    async with sqlite.read() as tx:
        assert len((await tx.events.after(0, limit=100)).items) == events
        assert len((await tx.api_keys.page(limit=10, client_id="edge-7", now=0.0)).items) == 2
