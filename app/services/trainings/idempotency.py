"""``Idempotency-Key``: a request that is repeated with its key gives the same resource again, while the key is kept."""

from dataclasses import dataclass

import structlog

from app.clock import Clock
from app.store.database import Database
from app.store.idempotency import Remembered
from app.store.portions import in_portions
from app.store.transaction import Transaction
from tcsfeel.errors import TcsFeelError

_HOUR = 3600.0

log = structlog.get_logger(__name__)


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


class KeyRetention:
    """Removes keys that are older than the settings allow. Several servers may do this at the same time."""

    def __init__(self, db: Database, clock: Clock, *, hours: float) -> None:
        self._db = db
        self._clock = clock
        self._seconds = hours * _HOUR

    async def tick(self) -> None:
        """Remove old keys in portions, so that writers wait for no more than some milliseconds."""
        before = self._clock.now() - self._seconds
        removed = await in_portions(
            self._db, lambda tx, limit: tx.idempotency.remove_oldest(before=before, limit=limit)
        )
        if removed:
            log.info("removed old idempotency keys", keys=removed)
