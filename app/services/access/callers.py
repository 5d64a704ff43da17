"""Find out who calls, by the key that a request carries.

A key is read from the database when it is used for the first time. Then this process remembers it, because a statement
for each call would cost more than most calls. About every two seconds, the process asks the database which keys have
been revoked or rotated since, and forgets those. It trusts what it remembers only for `TRUSTED_SECONDS` after such a
question was asked. So a revoked key is refused by every server within this time, even if a server loses the database.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.clock import Clock
from app.domain.keys import TEXT, ApiKey
from app.domain.principals import ADMIN, Principal
from app.services.access.keys import AdminKey, Unauthenticated
from app.services.access.oidc import OidcTokens, is_token
from app.services.access.secrets import ServerSecret
from app.store.database import Database

QUESTION_SECONDS = 2.0  # from one question for changes to the next
TRUSTED_SECONDS = 4.5  # after a question was asked
USE_SECONDS = 60.0  # a key's last use is written at most once in this time
MOST_REMEMBERED = 50_000  # keys, of some 600 bytes each
LOOKUPS = 2  # at the same time, so that callers with invented keys cannot take all connections to the database
WRITTEN_TOGETHER = 500


@dataclass(slots=True)
class _Known:
    """A key that was read from the database."""

    key: ApiKey
    use_written_at: float = -math.inf


class Callers:
    """The callers whose keys one process knows."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        admin_key: AdminKey,
        secret: ServerSecret,
        *,
        questions_db: Database | None = None,
        issued: OidcTokens | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._questions_db = questions_db or db
        self._clock = clock
        self._admin_key = admin_key
        self._secret = secret
        self._issued = issued
        self._steady = steady
        self._known: dict[bytes, _Known] = {}
        self._hashes: dict[str, bytes] = {}  # under which the keys are known, by their ids
        self._asked_at = -math.inf
        self._seen: int | None = None
        self._forgotten = 0
        self._next_change: asyncio.Future[None] | None = None
        self._used: dict[str, float] = {}
        self._outdated: dict[str, bytes] = {}
        self._lookups = asyncio.Semaphore(LOOKUPS)

    async def identify(self, text: str | None) -> Principal:
        """Find the caller that has a key or a token. Raises `Unauthenticated`, or as `OidcTokens.identify`."""
        if text is None:
            raise Unauthenticated
        if self._admin_key.matches(text):
            return ADMIN
        if self._issued is not None and is_token(text):
            return await self._issued.identify(text)
        match = TEXT.fullmatch(text)
        if match is None:
            raise Unauthenticated(sent=True)
        of_device = match["role"] == "agent"
        found = self._remembered(text)
        if found is None:
            found = await self._look_up(match["id"], text)
        if found is None:
            raise Unauthenticated(sent=True, of_device=of_device)
        now = self._clock.now()
        if (state := found.key.state(now)) != "valid":
            raise Unauthenticated(sent=True, state=state, of_device=of_device)
        if now - found.use_written_at >= USE_SECONDS:
            found.use_written_at = self._used[found.key.id] = now
        return found.key.principal

    def remembers(self, text: str) -> bool:
        """Tell, without asking the database, whether a text is the admin key or a valid key that was shown lately."""
        if self._admin_key.matches(text):
            return True
        found = self._remembered(text) if TEXT.fullmatch(text) else None
        return found is not None and found.key.state(self._clock.now()) == "valid"

    async def close(self) -> None:
        """End the calls of the issuer of tokens that are under way."""
        if self._issued is not None:
            await self._issued.close()

    @property
    def _trusts(self) -> bool:
        """Tell whether the process has asked for changes so lately that it may trust what it remembers."""
        return self._steady() - self._asked_at < TRUSTED_SECONDS

    def _remembered(self, text: str) -> _Known | None:
        """Return what is remembered of a key; None if there is nothing that may be trusted now."""
        return self._known.get(self._secret.keyed_hash(text)) if self._trusts else None

    async def _look_up(self, key_id: str, text: str) -> _Known | None:
        """Read a key from the database, and remember it. Returns None if there is none with this text."""
        async with self._lookups:
            forgotten = self._forgotten
            async with self._db.glance() as tx:
                key = await tx.api_keys.find(key_id)
        if key is None or not self._secret.matches(text, key.hash):
            return None
        newest = self._secret.keyed_hash(text)
        if (key.hash, key.secret_id) != (newest, self._secret.ids[0]):
            self._outdated[key.id] = newest
        if forgotten != self._forgotten:  # the key may have changed after it was read
            return _Known(key, key.last_used_at or -math.inf)
        found = self._known.setdefault(newest, _Known(key, key.last_used_at or -math.inf))
        found.key = key
        self._hashes[key.id] = newest
        if len(self._known) > MOST_REMEMBERED:
            self._drop(next(iter(self._hashes)))
        return found

    @property
    def next_change(self) -> asyncio.Future[None]:
        """Return what is done once a key has changed, so that callers whose calls last have to be identified again."""
        if self._next_change is None or self._next_change.done():
            self._next_change = asyncio.get_running_loop().create_future()
        return self._next_change

    def forget(self, key_id: str) -> None:
        """Read a key from the database again when it is used next, because it has changed."""
        self._forgotten += 1
        self._drop(key_id)
        if self._next_change is not None and not self._next_change.done():
            self._next_change.set_result(None)

    def _drop(self, key_id: str) -> None:
        if (known := self._hashes.pop(key_id, None)) is not None:
            del self._known[known]

    async def refresh(self) -> None:
        """Ask which keys have changed, and forget them. The first question only finds the newest change."""
        asked_at = self._steady()
        async with self._questions_db.glance() as tx:
            if self._seen is None:
                self._seen = await tx.api_keys.last_change()
                for key_id in list(self._hashes):  # it may have changed before this question
                    self.forget(key_id)
            else:
                for key_id, change in (await tx.api_keys.changed(self._seen)).items():
                    self.forget(key_id)
                    self._seen = max(self._seen, change)
        self._asked_at = asked_at

    async def write(self) -> None:
        """Write when keys were last used, and the hashes of those whose hash was made with an older secret."""
        while self._used or self._outdated:
            used = dict(list(self._used.items())[:WRITTEN_TOGETHER])
            hashes = dict(list(self._outdated.items())[:WRITTEN_TOGETHER])
            async with self._questions_db.begin() as tx:
                if used:
                    await tx.api_keys.used(used)
                if hashes:
                    await tx.api_keys.rehash(hashes, self._secret.ids[0])
            self._used = {key_id: at for key_id, at in self._used.items() if used.get(key_id) != at}
            self._outdated = {key_id: one for key_id, one in self._outdated.items() if hashes.get(key_id) != one}
