"""Events of API keys."""

from dataclasses import asdict

from app.domain.events.keys import KeyCreated, KeyRevoked, KeyRotated
from app.domain.keys import ApiKey

KEY = ApiKey(
    id="3f0c2a9d5b7e",
    name="edge 7",
    role="agent",
    client_id="edge-7",
    hash=b"h",
    created_at=1.0,
    created_by="admin key",
)
SHOWN = {"client_id": "edge-7", "key_id": "3f0c2a9d5b7e", "name": "edge 7", "role": "agent"}


def test_an_event_of_a_key_says_whose_it_is_and_has_no_part_of_its_text() -> None:
    assert (KeyCreated.type, asdict(KeyCreated.of(KEY))) == ("key.created", SHOWN)
    assert (KeyRevoked.type, asdict(KeyRevoked.of(KEY))) == ("key.revoked", SHOWN)
    rotated = KeyRotated.of(KEY, "0011223344ff")
    assert (KeyRotated.type, asdict(rotated)) == ("key.rotated", SHOWN | {"replacement": "0011223344ff"})
