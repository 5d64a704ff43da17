"""``Idempotency-Key``: a request that is repeated with its key gives the same resource again."""

from dataclasses import dataclass

from app.store.idempotency import Remembered
from app.store.transaction import Transaction
from tcsfeel.errors import TcsFeelError


class KeyReused(TcsFeelError):
    """The key was used before for another request."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the Idempotency-Key {key!r} was used for another request")
        self.key = key


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request with a key: what it is for (`scope`), and the digest of what it says."""

    scope: str
    key: str
    sha256: str

    async def claim(self, tx: Transaction, resource: str, now: float) -> str | None:
        """Store `resource` under the key. Returns the first request's resource if there is one. Raises `KeyReused`."""
        known = await tx.idempotency.claim(self.scope, self.key, Remembered(resource, self.sha256), now)
        if known is None:
            return None
        if known.request_sha256 != self.sha256:
            raise KeyReused(self.key)
        return known.resource
