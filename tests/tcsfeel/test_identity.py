"""The key pair of a device: where it is kept, and what its signatures prove."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tcsfeel.identity import Identity, UnusableIdentity, is_public_key, read, verify, written

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
"""The private key of the first example of RFC 8032, section 7.1."""
PUBLIC = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
SIGNED_NOTHING = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
WEAK = written(b"\1" + bytes(31))  # the neutral element: everybody can sign for it


def test_keys_and_signatures_are_those_of_rfc_8032() -> None:
    identity = Identity(SEED)
    assert identity.public_key == PUBLIC
    assert identity.sign(b"") == SIGNED_NOTHING
    assert verify(PUBLIC, SIGNED_NOTHING, b"")


def test_a_signature_fits_one_message_and_one_key() -> None:
    one, other = Identity.make(), Identity.make()
    signature = one.sign(b"an update")
    assert verify(one.public_key, signature, b"an update")
    assert not verify(one.public_key, signature, b"an Update")
    assert not verify(other.public_key, signature, b"an update")
    assert not verify(one.public_key, signature[:-1], b"an update")
    assert not verify(one.public_key, bytes(64), b"an update")


@pytest.mark.parametrize("key", ["", "short", PUBLIC[:-1], PUBLIC + "A", PUBLIC[:-1] + "p", PUBLIC[:-1] + "=", WEAK])
def test_texts_that_are_no_key_verify_nothing(key: str) -> None:
    assert is_public_key(PUBLIC)
    assert not is_public_key(key)
    assert not verify(key, SIGNED_NOTHING, b"")


def test_a_point_that_is_not_on_the_curve_is_no_key() -> None:
    keys = [written(bytes([number]) + bytes(31)) for number in range(2, 40)]
    valid = [key for key in keys if is_public_key(key)]
    assert 0 < len(valid) < len(keys) / 2
    assert not any(verify(key, SIGNED_NOTHING, b"") for key in keys)


def test_a_key_comes_back_as_it_was_written() -> None:
    for number in range(256):
        key = bytes([number]) * 32
        assert len(written(key)) == 43
        assert read(written(key)) == key


def test_an_identity_is_made_once_and_kept_from_other_users(tmp_path: Path) -> None:
    path = tmp_path / "state" / "edge-7.identity"
    first = Identity.load_or_make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Identity.load_or_make(path).public_key == first.public_key
    assert first.public_key != Identity.make().public_key
    assert path.read_text().strip() not in {first.public_key, repr(first), str(first)}


def test_two_starts_at_once_make_one_identity(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(Identity.load_or_make, path) for _ in range(16)]
    assert len({one.result().public_key for one in found}) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    for content in (b"", b"-----BEGIN PRIVATE KEY-----\n", b"\xff" * 43, b"A" * 100_000):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(UnusableIdentity, match=r"identity, .*holds no identity: restore it, or remove it"):
            Identity.load_or_make(path)
        assert path.read_bytes() == content


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    Identity.load_or_make(path)
    path.chmod(0o640)
    with pytest.raises(UnusableIdentity, match="can be read by other users: run `chmod 600"):
        Identity.load_or_make(path)


def test_a_path_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "identity", tmp_path):
        with pytest.raises(UnusableIdentity, match=f"{tmp_path}.* cannot be read or made: "):
            Identity.load_or_make(path)
