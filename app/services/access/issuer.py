"""The keys with which an OpenID Connect issuer signs its tokens.

Rules:

- They are fetched when the first token comes, and again in the background when they are older than `FRESH_SECONDS`.
- A token with an unknown key makes the process ask once more, at most once in `PAUSE_SECONDS`, however many such tokens
  come. All callers wait for the same answer, `FETCH_SECONDS` at most.
- While the issuer does not answer, the keys that were fetched last are used for `STALE_SECONDS`.
- What the issuer answers is bounded before it is parsed. Keys of other kinds, and keys that are too weak, are left out.
"""

import asyncio
import json
import math
import ssl
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import structlog

from app.settings import OidcSettings, is_local
from app.threads import in_thread
from tcsfeel.errors import Picklable
from tcsfeel.text import plain

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    Key = RSAKey | ECKey | OKPKey

FRESH_SECONDS = 600.0
STALE_SECONDS = 7200.0
PAUSE_SECONDS = 30.0
RETRY_SECONDS = 5.0  # after an attempt that failed
FETCH_SECONDS = 5.0
MOST_BYTES = 65_536
MOST_KEYS = 50
MOST_CHARACTERS = 1_400  # of a part of a key: an RSA key of 8192 bits
_KINDS = {"RSA", "EC", "OKP"}

log = structlog.get_logger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]


class IssuerUnavailable(Picklable):
    """The issuer of tokens does not answer as it should, so that a token cannot be checked now."""

    def __init__(self) -> None:
        super().__init__(
            "the issuer of tokens does not answer, so that the token cannot be checked: try again in a moment, or use "
            "an API key"
        )


class IssuerKeys:
    """The keys of one issuer. `generation` grows whenever they have changed."""

    def __init__(
        self, settings: OidcSettings, *, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = settings.issuer or ""
        self._ca_file = settings.ca_file
        self._fetch = fetch or self._over_http
        self._clock = clock
        self._keys: list[Key] = []
        self._fetched_at = -math.inf
        self._next_at = -math.inf
        self._refreshing: asyncio.Task[None] | None = None
        self._failing = False
        self._documents: list[dict[str, Any]] = []
        self._context: ssl.SSLContext | None = None
        self.generation = 0

    async def find(self, kid: str | None) -> "Key | None":
        """Find the key with an id. Without an id, find the only key. Raises `IssuerUnavailable`."""
        age = self._clock() - self._fetched_at
        if age > FRESH_SECONDS:
            self._refresh()
        if age > STALE_SECONDS:
            await self._refreshed()
            if self._clock() - self._fetched_at > STALE_SECONDS:
                raise IssuerUnavailable
        found = self._known(kid)
        if found is None:
            self._refresh()
            await self._refreshed()
            found = self._known(kid)
        return found

    def _known(self, kid: str | None) -> "Key | None":
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.kid == kid), None)

    def _refresh(self) -> None:
        """Begin to fetch the keys, unless that is under way, or was done a moment ago."""
        if self._refreshing is None and self._clock() >= self._next_at:
            self._refreshing = asyncio.create_task(self._ask())

    async def _refreshed(self) -> None:
        """Wait for the fetch that is under way, if there is one."""
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing])

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                documents = await self._documents_of_keys()
            keys = [key for key in map(_usable, documents) if key is not None]
            if not keys:
                raise ValueError("its key set has no key that can be used")  # noqa: TRY301  (handled as all failures)
        except Exception as error:  # noqa: BLE001  (whatever the issuer answers, API keys go on working)
            self._next_at = self._clock() + RETRY_SECONDS
            if not self._failing:
                log.warning("the keys of the issuer of tokens cannot be fetched", reason=_in_a_line(error))
            self._failing = True
        else:
            if documents != self._documents:
                self.generation += 1
            self._keys, self._documents = keys, documents
            self._fetched_at = self._clock()
            self._next_at = self._fetched_at + PAUSE_SECONDS
            if self._failing:
                log.info("the keys of the issuer of tokens can be fetched again")
            self._failing = False
        finally:
            self._refreshing = None

    async def _documents_of_keys(self) -> list[dict[str, Any]]:
        """Fetch the discovery document, and then the key set that it names. Raises `ValueError` and errors of HTTP."""
        described = json.loads(await self._fetch(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"))
        if not isinstance(described, dict) or described.get("issuer") != self._issuer:
            raise ValueError("its discovery document is of another issuer")
        url = described.get("jwks_uri")
        secure = isinstance(url, str) and (url.startswith("https://") or (is_local(self._issuer) and is_local(url)))
        if not isinstance(url, str) or not secure:
            raise ValueError("its discovery document has no jwks_uri that begins with https://")
        found = json.loads(await self._fetch(url))
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list) or len(keys) > MOST_KEYS:
            raise ValueError(f"its key set is no list of at most {MOST_KEYS} keys")
        return [key for key in keys if isinstance(key, dict)]

    async def _over_http(self, url: str) -> bytes:
        if self._context is None and not is_local(self._issuer):
            self._context = await in_thread("administration", _certificates, self._ca_file)
        context = self._context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        received = bytearray()
        async with (
            httpx2.AsyncClient(verify=context, trust_env=False, timeout=FETCH_SECONDS) as http,
            http.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                raise ValueError(f"it answered {response.status_code}")
            async for piece in response.aiter_raw():
                received += piece
                if len(received) > MOST_BYTES:
                    raise ValueError(f"it answered more than {MOST_BYTES} bytes")
        return bytes(received)


def _certificates(ca_file: Path | None) -> ssl.SSLContext:
    """Read the certificates of the system, or of a file, which takes tens of milliseconds."""
    return ssl.create_default_context(cafile=ca_file)


def _usable(document: dict[str, Any]) -> "Key | None":
    """Make a public key of one entry of a key set; None if it is of another kind, broken, too large or too weak."""
    from joserfc.errors import JoseError, SecurityWarning  # noqa: PLC0415  (only servers with an issuer load it)
    from joserfc.jwk import import_key  # noqa: PLC0415

    parts = [value for value in document.values() if isinstance(value, str)]
    if document.get("kty") not in _KINDS or any(len(part) > MOST_CHARACTERS for part in parts):
        return None
    public = {name: value for name, value in document.items() if name not in {"x5c", "x5t", "x5u", "key_ops"}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)
            key = import_key(public)
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError, OverflowError):
        return None
    return None if key.is_private else key  # type: ignore[return-value]  # its kind was checked


def _in_a_line(error: Exception) -> str:
    return plain(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 300)
