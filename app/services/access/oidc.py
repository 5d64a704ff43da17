"""Know callers by bearer tokens (JWT) of an OpenID Connect issuer.

Rules:

- Only the algorithms of the settings are accepted, and a key only with an algorithm of its own kind. A key is looked up
  by its id among the issuer's keys; keys and addresses in the header of a token are ignored.
- A token must name the issuer, the audience, its end and its subject.
- A token that was accepted is remembered until its end, or until the issuer's keys change.
"""

import hashlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.clock import Clock
from app.domain.principals import RANKS, Principal, Role
from app.services.access.issuer import IssuerKeys
from app.services.access.keys import Unauthenticated
from app.settings import OidcSettings
from tcsfeel.errors import TcsFeelError
from tcsfeel.text import plain

if TYPE_CHECKING:
    from joserfc.jws import JWSRegistry

MOST_CHARACTERS = 8_192
MOST_REMEMBERED = 10_000
_HEADER_BYTES = 4_096
_TYPES = {"jwt", "at+jwt", "application/at+jwt"}
_LONGEST_NAME = 100


class TokenRefused(Unauthenticated):
    """The request carries a token that is not valid."""

    def __init__(self, reason: str) -> None:
        TcsFeelError.__init__(self, f"the token in the header `Authorization` {reason}: get a new one from its issuer")


class NoRole(TcsFeelError):
    """The token is valid, and its claims give the caller no role."""

    def __init__(self, claim: str, known: Mapping[str, Role]) -> None:
        names = ", ".join(sorted(known))
        super().__init__(
            f"the token has no role for this server: its claim {claim!r} should have one of {names} "
            "(TCSFEEL_OIDC__ROLE_CLAIM and TCSFEEL_OIDC__ROLES)"
        )


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a signed token: three parts, of which the first is an object of JSON."""
    return text.startswith("ey") and text.count(".") == 2  # noqa: PLR2004  (its parts)


class OidcTokens:
    """Checks tokens of the issuer that the settings name."""

    def __init__(self, settings: OidcSettings, clock: Clock, *, keys: IssuerKeys | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._keys = keys or IssuerKeys(settings)
        self._remembered: dict[bytes, tuple[float, Principal]] = {}
        self._generation = 0
        self._registry: JWSRegistry | None = None

    @classmethod
    def of(cls, settings: OidcSettings, clock: Clock) -> "OidcTokens | None":
        """Make what checks tokens; None if the settings name no issuer."""
        return None if settings.issuer is None else cls(settings, clock)

    async def identify(self, text: str) -> Principal:
        """Find the caller that has a token.

        Raises:
            TokenRefused: it is not valid.
            NoRole: it is valid and gives no role.
            IssuerUnavailable: the issuer's keys are not known.
        """
        if len(text) > MOST_CHARACTERS:
            raise TokenRefused(f"has more than {MOST_CHARACTERS} characters")
        digest, now = _digest(text), self._clock.now()
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._remembered.clear()
        until, principal = self._remembered.get(digest, (now, None))
        if principal is None or until <= now:
            claims = await self._claims(text, now)
            principal = self._principal(claims)
            if len(self._remembered) >= MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[digest] = (float(claims["exp"]) + self._settings.leeway_seconds, principal)
        return principal

    async def close(self) -> None:
        """End what is under way."""
        await self._keys.close()

    async def _claims(self, text: str, now: float) -> dict[str, Any]:
        """Check a token and return its claims. Raises `TokenRefused`, `IssuerUnavailable`."""
        from joserfc import jws, jwt  # noqa: PLC0415  (takes 70 ms, and only servers with an issuer need it)
        from joserfc.errors import JoseError, SecurityWarning  # noqa: PLC0415

        if self._registry is None:
            self._registry = jws.JWSRegistry(algorithms=self._settings.algorithms, strict_check_header=False)
            self._registry.max_header_length = _HEADER_BYTES
        try:
            header = jws.extract_compact(text.encode(errors="replace"), registry=self._registry).headers()
        except (JoseError, ValueError, TypeError, RecursionError):
            raise TokenRefused("is not a signed token (JWT)") from None
        key = await self._keys.find(self._key_id(header))
        if key is None:
            raise TokenRefused("names a key that its issuer does not have")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # the name EdDSA, which issuers use
                claims: dict[str, Any] = jwt.decode(text, key, registry=self._registry).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            raise TokenRefused("does not have a valid signature of its issuer") from None
        self._check(claims, now)
        return claims

    def _key_id(self, header: Mapping[str, Any]) -> str | None:
        """Return the id of the key that signed a token; None if it names none. Raises `TokenRefused`."""
        kid, kind = header.get("kid"), header.get("typ", "JWT")
        if header.get("alg") not in self._settings.algorithms:
            algorithms = ", ".join(self._settings.algorithms)
            raise TokenRefused(f"is signed by an algorithm that is not one of {algorithms}")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise TokenRefused("is a token for another purpose")
        if "crit" in header:
            raise TokenRefused("needs an extension that this server does not know")
        if kid is not None and not isinstance(kid, str):
            raise TokenRefused("has a key id that is not a text")
        return kid

    def _check(self, claims: dict[str, Any], now: float) -> None:
        """Refuse a token of another issuer, for another audience, without a subject, or for another time."""
        from joserfc.errors import ExpiredTokenError, JoseError  # noqa: PLC0415
        from joserfc.jwt import JWTClaimsRegistry  # noqa: PLC0415

        expected = JWTClaimsRegistry(
            now=int(now),
            leeway=self._settings.leeway_seconds,
            iss={"essential": True, "value": self._settings.issuer or ""},
            aud={"essential": True, "value": self._settings.audience or ""},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            expected.validate(claims)
        except ExpiredTokenError:
            raise TokenRefused("has expired") from None
        except (JoseError, ValueError, TypeError, OverflowError) as error:
            claim = getattr(error, "claim", None)
            which = f"its claim {claim!r}" if claim in {"iss", "aud", "exp", "nbf", "iat", "sub"} else "a claim"
            raise TokenRefused(f"is not for this server now: {which} is missing or has another value") from None

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        """Find the role of a caller. Raises `NoRole`."""
        claim = self._settings.role_claim
        found: Any = claims
        for part in [claim] if claim in claims else claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        named = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        roles = [self._settings.roles[name] for name in named if isinstance(name, str) and name in self._settings.roles]
        if not roles:
            raise NoRole(claim, self._settings.roles)
        subject = claims["sub"]
        name = subject if plain(subject, _LONGEST_NAME) == subject else _digest(subject).hex()
        return Principal(max(roles, key=RANKS.__getitem__), f"oidc {name}")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()
