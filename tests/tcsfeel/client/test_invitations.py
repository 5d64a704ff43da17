"""The client's calls of invitations and enrolments, against the service itself."""

from pathlib import Path

import pytest

from tcsfeel.client import Conflict, Invalid, NotFound, Unauthenticated
from tcsfeel.contract.invitations import CreateInvitation
from tcsfeel.identity import Identity, written
from tcsfeel.wire.enrolment import proof_text
from tests.api import running_api
from tests.tcsfeel.client.test_with_the_service import PROFILE, client_of


async def test_devices_are_invited_enrol_and_are_replaced(tmp_path: Path, sqlite_url: str) -> None:
    device = Identity.make()
    async with running_api(tmp_path / "data", sqlite_url) as api, client_of(api) as client:
        made = await client.create_invitation(uses=2, id_pattern="edge-*", tags={"site": "north"})
        other = await client.create_invitation(CreateInvitation(name="other"))
        assert [one.id for one in (await client.list_invitations()).items] == sorted([made.id, other.id], reverse=True)
        assert (await client.list_invitations(limit=1)).next_cursor is not None

        text = proof_text(invitation_id=made.id, client_id="edge-7", public_key=device.public_key)
        proof = written(device.sign(text))
        enrolled = await client.enrol_client(made.secret, client_id="edge-7", public_key=device.public_key, proof=proof)
        assert (enrolled.client_id, enrolled.tags) == ("edge-7", {"site": "north"})
        async with client_of(api, enrolled.key) as own:
            assert (await own.put_client("edge-7", **PROFILE)).public_key == device.public_key
        (one,) = (await client.list_enrolments(made.id)).items
        assert [device async for device in client.enrolments(made.id)] == [one]
        assert (one.client_id, one.key_id) == ("edge-7", enrolled.key_id)
        assert (await client.get_invitation(made.id)).uses_left == 1

        replacement = await client.create_replacement("edge-7", expires_in_seconds=60)
        assert (replacement.replaces, replacement.uses) == ("edge-7", 1)
        with pytest.raises(NotFound):
            await client.create_replacement("none")
        with pytest.raises(Invalid):
            await client.enrol_client("secret", public_key="short", proof=proof)
        with pytest.raises(Unauthenticated):
            await client.enrol_client("secret", public_key=device.public_key, proof=proof)
        stranger = Identity.make()
        text = proof_text(invitation_id=made.id, client_id="edge-7", public_key=stranger.public_key)
        with pytest.raises(Conflict, match="another device has enrolled"):
            await client.enrol_client(
                made.secret,
                client_id="edge-7",
                public_key=stranger.public_key,
                proof=written(stranger.sign(text)),
            )
        await client.revoke_invitation(made.id)
        assert (await client.get_invitation(made.id)).state == "revoked"
