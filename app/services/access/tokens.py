"""The bearer tokens that agents expect. They are encrypted in the database, and decrypted when an agent is called.

Between the two, a `Profile` carries the token as it is stored. Tokens that an earlier version stored are plain, and
are encrypted in the background.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import structlog

from app.domain.clients import Profile
from app.services.access.secrets import ENCRYPTED, ServerSecret, Undecipherable
from app.store.database import Database
from app.threads import in_thread
from tcsfeel.errors import Picklable

PORTION = 200  # tokens that one transaction writes
NAMED = 20  # clients that a message names
REMEMBERED = 10_000  # decrypted tokens: a round calls each of its agents twice

log = structlog.get_logger(__name__)


class LockedToken(Picklable, ValueError):
    """No secret of this server decrypts the token of a client, which therefore cannot be called."""

    def __init__(self) -> None:
        super().__init__(
            "its stored token was encrypted with a secret that this server does not have: add that secret to "
            "TCSFEEL_AUTH__SECRET_KEYS, or let the agent register again",
        )


class AgentTokens:
    """Encrypts and decrypts tokens with the secret of the server."""

    def __init__(self, secret: ServerSecret) -> None:
        self._secret = secret
        self._decrypted = lru_cache(REMEMBERED)(secret.decrypt)

    def seal(self, profile: Profile, known: str | None = None) -> Profile:
        """Encrypt the token of a profile that a request brought.

        If `known`, the stored token of the client, is an encryption of it already, it stays as it is.
        """
        token = profile.auth_token
        if token is None:
            return profile
        return replace(
            profile, auth_token=known if known and self._holds(known, token) else self._secret.encrypt(token)
        )

    def opened(self, stored: str) -> str:
        """Decrypt a stored token. Raises `LockedToken`."""
        try:
            return self._decrypted(stored)
        except Undecipherable:
            raise LockedToken from None

    def renewed(self, stored: str) -> str | None:
        """Encrypt a stored token again, with the newest secret; None if no secret decrypts it."""
        try:
            return self._secret.renewed(stored)
        except Undecipherable:
            return None

    def _holds(self, stored: str, token: str) -> bool:
        try:
            return stored.startswith(ENCRYPTED) and self._secret.decrypt(stored) == token
        except Undecipherable:
            return False


@dataclass(frozen=True, slots=True)
class Renewal:
    """How many tokens were encrypted, and which clients' tokens no secret decrypts; the same of webhooks' secrets."""

    renewed: int
    locked: tuple[str, ...] = ()
    webhooks: int = 0
    locked_webhooks: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"{self.renewed} tokens of clients were encrypted with the newest secret"
        if self.webhooks:
            told = f"{told}, and {self.webhooks} secrets of webhooks"
        if self.locked_webhooks:
            named = ", ".join(self.locked_webhooks[:NAMED])
            told = f"{told}; webhooks whose secrets could not be decrypted have to be made again: {named}"
        if not self.locked:
            return told
        named = ", ".join(self.locked[:NAMED]) + (
            f" and {len(self.locked) - NAMED} more" if self.locked[NAMED:] else ""
        )
        return (
            f"{told}, but {len(self.locked)} could not be decrypted: {named}. Add the secret of that time to "
            "TCSFEEL_AUTH__SECRET_KEYS, or let these clients register again"
        )


class TokenRenewal:
    """Encrypts stored tokens, a few in each transaction. Several processes may do this at the same time."""

    def __init__(self, db: Database, tokens: AgentTokens) -> None:
        self._db = db
        self._tokens = tokens
        self._is_done = False

    async def tick(self) -> None:
        """Encrypt the tokens that an earlier version stored as they are. Looks for them until there are none."""
        if not self._is_done:
            done = await self._renew(without=ENCRYPTED)
            if done.renewed:
                log.info("encrypted the stored tokens of clients", tokens=done.renewed)
            self._is_done = True

    async def rotate(self) -> Renewal:
        """Encrypt all tokens again, with the newest secret."""
        return await self._renew(without=None)

    async def _renew(self, *, without: str | None) -> Renewal:
        renewed, locked, after = 0, list[str](), ""
        while True:
            async with self._db.glance() as tx:
                stored = await tx.tokens.page(after=after, limit=PORTION, without=without)
            made = await in_thread("administration", lambda old: [self._tokens.renewed(one) for _, one in old], stored)
            pairs = list(zip(stored, made, strict=True))
            changed = [(client_id, old, new) for (client_id, old), new in pairs if new is not None]
            async with self._db.begin() as tx:
                await tx.tokens.replace(changed)
            renewed += len(changed)
            locked += [client_id for (client_id, _), new in pairs if new is None]
            if len(stored) < PORTION:
                return Renewal(renewed, tuple(locked))
            after = stored[-1][0]
