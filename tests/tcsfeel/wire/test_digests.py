"""The header that names the bytes of a body."""

import hashlib

import pytest

from tcsfeel.wire.digests import digest_of, read_digest, written_digest

HELLO = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
"""That of the example of RFC 9530, appendix D."""


def test_a_digest_is_written_as_rfc_9530_writes_it() -> None:
    digest = digest_of([b'{"hello": ', memoryview(b'"world"}')])
    assert written_digest(digest) == HELLO
    assert read_digest(HELLO) == digest == hashlib.sha256(b'{"hello": "world"}').digest()


def test_other_algorithms_beside_it_are_ignored() -> None:
    digest = read_digest(HELLO)
    assert read_digest(f"sha-512=:YWJj:,  {HELLO}") == digest
    assert read_digest(f"{HELLO} , id-sha-256=:YWJj:") == digest
    assert read_digest(f"{written_digest(bytes(32))},{HELLO}") == digest, "the last of equal names counts"


@pytest.mark.parametrize(
    "value", ["", "sha-512=:YWJj:", "sha-256=X48E9", "sha-256=:YWJj:", HELLO[:-1], HELLO.replace("X", "*"), "," * 1000]
)
def test_a_value_without_a_sha_256_names_none(value: str) -> None:
    assert read_digest(value) is None
