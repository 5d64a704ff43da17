"""The admin key, from configuration or from its file."""

import secrets
import stat
from pathlib import Path

import pytest

from app.services.access.keys import AdminKey, Unauthenticated, key_path
from app.settings import Settings, WrongSetting

GIVEN = "a-key-from-the-environment"


def settings(data_dir: Path, key: str | None = None) -> Settings:
    return Settings(data_dir=data_dir, auth={"admin_key": key})


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    configured = settings(tmp_path / "new" / "data")
    key = AdminKey.load(configured)
    path = key_path(configured)
    assert key.made
    assert path.read_text() == f"{key.reveal()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(key.reveal()) >= 43  # 32 random bytes


def test_the_next_start_takes_the_same_key_and_shows_it_to_nobody(tmp_path: Path) -> None:
    first, second = AdminKey.load(settings(tmp_path)), AdminKey.load(settings(tmp_path))
    assert second.reveal() == first.reveal()
    assert (first.made, second.made) == (True, False)
    assert first.reveal() not in f"{first} {first!r}"


def test_each_installation_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = {AdminKey.load(settings(tmp_path / name)).reveal() for name in ("a", "b", "c")}
    assert len(keys) == 3


def test_a_configured_key_leaves_no_file(tmp_path: Path) -> None:
    key = AdminKey.load(settings(tmp_path, GIVEN))
    assert (key.reveal(), key.made) == (GIVEN, False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "\n", "short", "a key with spaces in it", "k" * 32 + "\n" + "k" * 32])
def test_a_file_that_holds_no_key_stops_the_start(tmp_path: Path, content: str) -> None:
    path = key_path(settings(tmp_path))
    path.write_text(content)
    with pytest.raises(WrongSetting) as stopped:
        AdminKey.load(settings(tmp_path))
    assert str(stopped.value) == f"TCSFEEL_DATA_DIR: {path} holds no key: remove it, and the next start makes a new one"
    assert path.read_text() == content


@pytest.mark.parametrize("given", ["", "wrong", GIVEN + "x", GIVEN[:-1], GIVEN.upper(), "é" * len(GIVEN)])
def test_anything_but_the_key_is_refused(given: str) -> None:
    assert not AdminKey(GIVEN).matches(given)


def test_the_error_tells_what_is_wrong_with_the_key() -> None:
    assert str(Unauthenticated()).startswith("send the header `Authorization: Bearer KEY`")
    assert "is not valid" in str(Unauthenticated(sent=True))
    assert "has expired" in str(Unauthenticated(sent=True, state="expired"))
    assert "was revoked" in str(Unauthenticated(sent=True, state="revoked"))


def test_the_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return given == expected

    monkeypatch.setattr(secrets, "compare_digest", compare)
    assert AdminKey(GIVEN).matches(GIVEN)
    assert compared == [(GIVEN.encode(), GIVEN.encode())]
