"""What a server warns of at its start."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.services.running.warnings import NO_PRIVATE_AGENTS, PLAIN_HTTP, UNUSABLE_KEYS, of_settings, warn
from app.settings import Settings
from app.store.database import Database
from tests.services.access.replicas import server

CERTIFICATE = {"cert_file": "cert.pem", "key_file": "key.pem"}
LISTED = {"allowed_networks": ["10.0.0.0/8"]}
OLD, NEW = "an old secret of 32 characters…".encode().hex(), "a new secret of 32 characters…".encode().hex()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ({"host": "0.0.0.0"}, [PLAIN_HTTP, NO_PRIVATE_AGENTS]),  # noqa: S104  (nothing listens)
        ({"host": "::", "tls": CERTIFICATE}, [NO_PRIVATE_AGENTS]),
        ({"host": "192.0.2.1", "agents": LISTED}, [PLAIN_HTTP]),
        ({"host": "192.0.2.1", "agents": LISTED, "tls": CERTIFICATE}, []),
    ],
)
def test_a_server_warns_of_what_its_settings_leave_open_beyond_loopback(
    given: dict[str, Any], found: list[str]
) -> None:
    assert list(of_settings(Settings(**given))) == found


async def test_keys_whose_secret_the_server_does_not_have_are_counted(db: Database) -> None:
    before = server(db, secrets=(OLD,))
    keys = [await before.keys.create(name=f"k{number}", role="viewer") for number in range(3)]
    await before.keys.revoke(keys[0].key.id)
    assert await told(server(db, secrets=(OLD,)).keys, db) == []
    assert await told(server(db, secrets=(NEW, OLD)).keys, db) == []
    assert await told(server(db, secrets=(NEW,)).keys, db) == [(UNUSABLE_KEYS, 2)]


async def told(keys: Any, db: Database) -> list[tuple[str, int]]:
    with capture_logs() as logs:
        await warn(Settings(data_dir=Path("unused")), db, keys)
    return [(entry["event"], entry["keys"]) for entry in logs]
