"""The server's secret: derived keys, keyed hashes and encrypted texts."""

from pathlib import Path

import pytest

from app.services.access.keys import AdminKey
from app.services.access.secrets import ENCRYPTED, ServerSecret, Undecipherable
from app.settings import Settings

ADMIN = AdminKey("an-admin-key-for-tests")
OLD, NEW = "an-older-secret-" * 2, "a-newer-secret--" * 2


def secret(*keys: str, admin_key: AdminKey = ADMIN) -> ServerSecret:
    return ServerSecret.load(Settings(data_dir=Path("unused"), auth={"secret_keys": keys}), admin_key)


def test_replicas_with_one_admin_key_have_one_secret() -> None:
    first, second = secret(), secret()
    assert first.derive("signing") == second.derive("signing")
    assert second.decrypt(first.encrypt("token")) == "token"
    assert second.matches("key", first.keyed_hash("key"))


def test_another_admin_key_or_another_setting_makes_another_secret() -> None:
    found = [secret(), secret(OLD), secret(NEW), secret(admin_key=AdminKey("another-admin-key"))]
    assert len({one.derive("signing") for one in found}) == 4
    assert len({one.keyed_hash("key") for one in found}) == 4


def test_each_purpose_has_a_key_of_its_own_of_32_bytes() -> None:
    found = secret(OLD)
    assert len(found.derive("signing")) == len(found.derive("cookies")) == 32
    assert found.derive("signing") != found.derive("cookies")
    assert OLD.encode() not in found.derive("signing")


def test_the_newest_secret_makes_values_and_each_older_one_is_still_known() -> None:
    derived, old, both = secret(), secret(OLD), secret(NEW, OLD)
    assert both.derived("signing") == (secret(NEW).derive("signing"), old.derive("signing"), derived.derive("signing"))
    assert both.derive("signing") == secret(NEW).derive("signing")
    for before in (derived, old):
        assert both.decrypt(before.encrypt("token")) == "token"
        assert both.matches("key", before.keyed_hash("key"))
        assert not before.matches("key", both.keyed_hash("key"))
        with pytest.raises(Undecipherable, match="add that secret to TCSFEEL_AUTH__SECRET_KEYS"):
            before.decrypt(both.encrypt("token"))


def test_a_hash_is_of_one_text_under_one_secret() -> None:
    found = secret(OLD)
    assert len(found.keyed_hash("key")) == 32
    assert not found.matches("kez", found.keyed_hash("key"))
    assert not found.matches("key", b"")


def test_an_encrypted_text_is_told_apart_from_an_older_plain_one() -> None:
    found = secret(OLD)
    stored = found.encrypt("token")
    assert stored.startswith(ENCRYPTED)
    assert "token" not in stored
    assert stored != found.encrypt("token")
    assert found.decrypt("a token from before") == "a token from before"
    assert found.decrypt(found.encrypt(stored)) == stored


@pytest.mark.parametrize("forged", [ENCRYPTED, f"{ENCRYPTED}gAAAAA", f"{ENCRYPTED}é", ENCRYPTED * 2])
def test_a_text_that_was_not_encrypted_here_is_refused(forged: str) -> None:
    with pytest.raises(Undecipherable):
        secret().decrypt(forged)


def test_a_renewed_text_needs_only_the_newest_secret() -> None:
    both, new = secret(NEW, OLD), secret(NEW)
    renewed = both.renewed(secret(OLD).encrypt("token"))
    assert new.decrypt(renewed) == "token"
    assert new.decrypt(both.renewed("a token from before")) == "a token from before"


def test_nothing_shows_a_secret() -> None:
    found = secret(OLD)
    assert OLD not in f"{found} {found!r} {vars(found)}"


def test_encryption_and_hashes_do_not_share_a_key() -> None:
    found = secret(OLD)
    assert found.derive("encryption") != found.derive("keyed hashes")
