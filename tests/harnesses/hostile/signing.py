"""Make the keys of hostile devices, and sign answers with them, rightly or wrongly."""

import base64
import hashlib
import re
import time
from collections.abc import Mapping
from functools import cache

from tcsfeel.identity import Identity
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.signatures import RECIPIENT, SIGNATURE, SIGNATURE_INPUT, Signed, answer_components, sign_answer

HONEST_TOKEN = "a-token-that-those-who-attack-honest-agents-have-found"
MOST_PERIODS = 8  # each has new keys, since a device that was removed cannot enrol again with its old one
_WRITTEN = re.compile(r":([A-Za-z0-9+/]{86}==):")


@cache
def device(name: str, period: int = 0) -> Identity:
    """Return the key pair of a hostile device. All processes of the harness make the same one."""
    return Identity(hashlib.sha256(f"{name} {period}".encode()).digest())


@cache
def devices(names: tuple[str, ...]) -> Mapping[str, Identity]:
    """Return the key pairs of devices in all periods by their public keys."""
    made = [device(name, period) for name in names for period in range(MOST_PERIODS)]
    return {identity.public_key: identity for identity in made}


KNOWN: dict[str, Identity] = {}
"""The key pairs of the devices that this process serves, by their public keys."""


def signature(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Return the headers of a right answer to a call with these headers; none if the called device has no key."""
    identity = KNOWN.get(headers.get(RECIPIENT.lower(), ""))
    return {} if identity is None else signed_by(identity, headers, body)


def signed_by(
    identity: Identity, headers: Mapping[str, str], body: bytes, *, digest: str | None = None, status: int = 200
) -> dict[str, str]:
    """Return the digest and the signature of an answer to a call with these headers.

    `digest` and `status` are what is signed in place of those of the answer.
    """
    own = written_digest(digest_of([body]))
    _, signed = sign_answer(identity, answer_components(status, digest or own, call_of(headers)), now=time.time())
    return {CONTENT_DIGEST: own} | signed


def call_of(headers: Mapping[str, str]) -> Signed:
    """Return the call that has these headers, as the signature of an answer covers it."""
    found = _WRITTEN.search(headers.get(SIGNATURE.lower(), ""))
    return Signed("", base64.b64decode(found[1]) if found else b"", 0)


__all__ = [
    "HONEST_TOKEN",
    "KNOWN",
    "SIGNATURE",
    "SIGNATURE_INPUT",
    "call_of",
    "device",
    "devices",
    "signature",
    "signed_by",
]
