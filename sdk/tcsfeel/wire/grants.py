"""Let a relay hand one task to one agent and fetch its result, and do nothing else there.

The control plane makes a *grant* for each child of a relay, and the relay sends it as the bearer token of its calls. It
names the task, the SHA-256 of the whole body with which the task has to come, and the time at which it expires. So a
relay can change neither the model nor the task that it passes on, and a grant that gets lost is of no use later.

An agent that knows the key of its control plane takes only grants that this key has signed. One without a key knows a
bearer token that it shares with the control plane, and takes grants with an HMAC of that token (RFC 2104). Neither
gives the relay the token itself.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from tcsfeel.identity import Identity, read, verify, written

PREFIX: Final = "relay1."
GRACE_SECONDS: Final = 60
"""By how much an agent's clock may be ahead when a grant expires."""

_GRANT = re.compile(r"relay1\.(\d{1,12})\.([0-9a-f]{64})\.([A-Za-z0-9_-]{0,86})")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a bearer token of a relay says.

    Attributes:
        expires: unix seconds.
        digest: the SHA-256 of the body with which the task has to come, in hexadecimal.
        proof: that the control plane has made it, base64url; empty for an agent that takes calls of everybody.
    """

    expires: int
    digest: str
    proof: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.expires}.{self.digest}.{self.proof}"

    def is_by_key(self, public_key: str, task_id: str) -> bool:
        """Tell whether the owner of a public key has granted this task."""
        if len(self.proof) != 86:  # noqa: PLR2004  (64 bytes)
            return False
        return verify(public_key, read(f"{self.proof}="), _text(task_id, self.digest, self.expires))

    def is_by_token(self, token: str, task_id: str) -> bool:
        """Tell whether somebody who knows a bearer token has granted this task."""
        return hmac.compare_digest(self.proof, _mac(token, _text(task_id, self.digest, self.expires)))


def read_grant(token: str) -> Grant | None:
    """Read a bearer token; None if it is not a grant."""
    found = _GRANT.fullmatch(token)
    return None if found is None else Grant(int(found[1]), found[2], found[3])


def granted_by_key(identity: Identity, task_id: str, digest: bytes, expires: int) -> Grant:
    """Grant a task to an agent that knows the public key of an identity."""
    signature = identity.sign(_text(task_id, digest.hex(), expires))
    return Grant(expires, digest.hex(), written(signature))


def granted_by_token(token: str, task_id: str, digest: bytes, expires: int) -> Grant:
    """Grant a task to an agent that expects a bearer token; empty if it expects none."""
    proof = _mac(token, _text(task_id, digest.hex(), expires)) if token else ""
    return Grant(expires, digest.hex(), proof)


def _text(task_id: str, digest: str, expires: int) -> bytes:
    return f"tcsfeel relay 1\n{task_id}\n{digest}\n{expires}".encode("utf-8", "replace")


def _mac(token: str, text: bytes) -> str:
    return written(hmac.new(token.encode(), text, hashlib.sha256).digest())
