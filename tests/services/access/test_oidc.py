"""Bearer tokens of an OpenID Connect issuer: who they are taken for, and which are refused.

Covers: app.services.access.callers
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from app.domain.principals import ADMIN, Principal
from app.services.access import oidc
from app.services.access.callers import Callers
from app.services.access.keys import AdminKey, Unauthenticated
from app.services.access.oidc import NoRole, OidcTokens, TokenRefused, is_token
from app.services.access.secrets import ServerSecret
from app.settings import OidcSettings, Settings
from app.store.database import Database
from tests.clocks import FakeClock
from tests.services.access.issuers import AUDIENCE, NOW, Issuer, keys, sign


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(float(NOW))


@pytest.fixture
async def checked(issuer: Issuer, clock: FakeClock) -> AsyncIterator[OidcTokens]:
    made = OidcTokens(issuer.settings, clock)
    yield made
    await made.close()


def part(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_token_of_each_kind_of_key_names_its_caller(
    checked: OidcTokens, issuer: Issuer, algorithm: str
) -> None:
    text = issuer.token(algorithm)
    assert is_token(text)
    assert await checked.identify(text) == Principal("operator", "oidc alice")


async def test_a_token_of_the_only_key_needs_no_id(checked: OidcTokens, issuer: Issuer) -> None:
    key = keys()["ES256"]
    text = sign({"alg": "ES256"}, json.dumps(issuer.claims()).encode(), key)
    with pytest.raises(TokenRefused, match="names a key that its issuer does not have"):
        await checked.identify(text)
    issuer.published = [key.as_dict(private=False)]
    alone = OidcTokens(issuer.settings, FakeClock(float(NOW)))
    assert (await alone.identify(text)).name == "oidc alice"


async def test_the_role_is_the_highest_that_the_claim_names(issuer: Issuer) -> None:
    settings = OidcSettings(
        issuer=issuer.url,
        audience=AUDIENCE,
        role_claim="realm_access.roles",
        roles={"fl-admins": "admin", "fl-readers": "viewer"},
    )
    checked = OidcTokens(settings, FakeClock(float(NOW)))
    for named, role in (
        (["fl-readers", "others", 5, "fl-admins"], "admin"),
        (["fl-readers"], "viewer"),
        ("openid fl-readers", "viewer"),
    ):
        assert (await checked.identify(issuer.token(realm_access={"roles": named}))).role == role
    without: list[dict[str, Any]] = [
        {},
        {"roles": ["fl-admins"]},
        {"realm_access": ["fl-admins"]},
        {"realm_access": {"roles": {"fl-admins": 1}}},
    ]
    for claims in without:
        with pytest.raises(NoRole, match=r"its claim 'realm_access.roles' should have one of fl-admins, fl-readers"):
            await checked.identify(issuer.token(**claims))


async def test_a_claim_may_have_dots_in_its_name(issuer: Issuer) -> None:
    claims: dict[str, Any] = {"https://tcsfeel.example/roles": "admin"}
    settings = OidcSettings(issuer=issuer.url, audience=AUDIENCE, role_claim="https://tcsfeel.example/roles")
    found = await OidcTokens(settings, FakeClock(float(NOW))).identify(issuer.token(**claims))
    assert found.role == "admin"


async def test_a_name_from_outside_is_a_short_line_that_no_key_has(checked: OidcTokens, issuer: Issuer) -> None:
    for subject in ("admin\nkey", "x" * 5000, "\u202e", "\x00"):
        name = (await checked.identify(issuer.token(sub=subject, typ="x" * 0))).name
        assert len(name) == len("oidc ") + 64
        assert name.isascii()
    assert (await checked.identify(issuer.token(sub="admin key"))).name == "oidc admin key"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"aud": "another"}, "its claim 'aud'"),
    ({"aud": ["another"]}, "its claim 'aud'"),
    ({"aud": None}, "its claim 'aud'"),
    ({"iss": "http://127.0.0.1:1/realm"}, "its claim 'iss'"),
    ({"iss": None}, "its claim 'iss'"),
    ({"sub": None}, "its claim 'sub'"),
    ({"sub": ["alice"]}, "its claim 'sub'"),
    ({"exp": None}, "its claim 'exp'"),
    ({"exp": str(NOW + 300)}, "its claim 'exp'"),
    ({"exp": NOW - 31}, "has expired"),
    ({"nbf": NOW + 31}, "its claim 'nbf'"),
    ({"iat": NOW + 31}, "its claim 'iat'"),
]


@pytest.mark.parametrize(("claims", "reason"), REFUSED)
async def test_a_token_for_others_or_for_another_time_is_refused(
    checked: OidcTokens, issuer: Issuer, claims: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TokenRefused, match=reason):
        await checked.identify(issuer.token(**claims))


async def test_clocks_may_differ_a_little(checked: OidcTokens, issuer: Issuer) -> None:
    early: list[dict[str, Any]] = [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 29}]
    for claims in early:
        assert (await checked.identify(issuer.token(**claims))).name == "oidc alice"


async def test_a_token_is_refused_after_its_end_although_it_was_accepted(
    checked: OidcTokens, issuer: Issuer, clock: FakeClock
) -> None:
    text = issuer.token()
    await checked.identify(text)
    clock.advance(329)
    await checked.identify(text)
    clock.advance(2)
    with pytest.raises(TokenRefused, match="has expired: get a new one from its issuer"):
        await checked.identify(text)


def forged(issuer: Issuer) -> dict[str, str]:
    """Tokens that somebody without a key of the issuer can make, with the right claims."""
    claims = json.dumps(issuer.claims(roles=["admin"])).encode()
    rsa, elliptic = keys()["RS256"], keys()["ES256"]
    assert isinstance(rsa, RSAKey)
    honest = issuer.token()
    head, body, signature = honest.split(".")
    own = ECKey.generate_key("P-256", {"kid": "own"})
    public = OctKey.import_key(part(rsa.as_dict(private=False)).encode())
    return {
        "no algorithm": f"{part({'alg': 'none'})}.{part(claims)}.",
        "none in capitals": f"{part({'alg': 'NONE', 'kid': 'rsa-1'})}.{part(claims)}.",
        "HMAC with the public key": sign({"alg": "HS256", "kid": "rsa-1"}, claims, public),
        "an algorithm of another kind of key": f"{part({'alg': 'ES256', 'kid': 'rsa-1'})}.{body}.{signature}",
        "other claims": f"{head}.{part(claims)}.{signature}",
        "other header": f"{part({'alg': 'RS256', 'kid': 'rsa-1', 'typ': 'JWT', 'x': 1})}.{body}.{signature}",
        "without a signature": f"{head}.{body}.",
        "the key in the header": sign({"alg": "ES256", "kid": "ec-1", "jwk": own.as_dict(private=False)}, claims, own),
        "the address of a key in the header": sign(
            {"alg": "ES256", "kid": "ec-1", "jku": "http://127.0.0.1:1/jwks"}, claims, own
        ),
        "an unknown key": sign({"alg": "ES256", "kid": "own"}, claims, own),
        "a path for a key": sign({"alg": "ES256", "kid": "../../dev/null"}, claims, own),
        "SQL for a key": sign({"alg": "ES256", "kid": "x' UNION SELECT 'k"}, claims, own),
        "a critical extension": sign({"alg": "ES256", "kid": "ec-1", "crit": ["b64"], "b64": True}, claims, elliptic),
        "an encrypted token": f"{part({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.{body}.{signature}",
        "a token of another type": issuer.token(header={"typ": "logout+jwt"}),
        "a type that is no text": f"{part({'alg': 'RS256', 'typ': 5})}.{body}.{signature}",
        "an algorithm that is no text": f"{part({'alg': {'a': 1}})}.{body}.{signature}",
        "a key id that is no text": f"{part({'alg': 'RS256', 'kid': [1]})}.{body}.{signature}",
        "a header of many levels": f"{part(b'[' * 3000)}.{body}.{signature}",
        "a header that is a list": f"{part([1])}.{body}.{signature}",
        "a payload of many levels": sign({"alg": "ES256", "kid": "ec-1"}, b"[" * 5000, elliptic),
        "a payload that is no object": sign({"alg": "ES256", "kid": "ec-1"}, b"[1]", elliptic),
        "a payload that is no JSON": sign({"alg": "ES256", "kid": "ec-1"}, b"\xff", elliptic),
        "no base64": "eyé.$.~",
        "half a character": "ey\ud800.a.b",
        "empty parts": "ey..",
    }


async def test_no_forged_token_is_accepted(checked: OidcTokens, issuer: Issuer) -> None:
    texts = forged(issuer)
    results = await asyncio.gather(*map(checked.identify, texts.values()), return_exceptions=True)
    found = dict(zip(texts, results, strict=True))
    assert {name: result for name, result in found.items() if not isinstance(result, TokenRefused)} == {}
    assert [name for name, text in texts.items() if text in str(found[name])] == []


async def test_a_huge_token_is_refused_before_it_is_parsed(checked: OidcTokens, issuer: Issuer) -> None:
    with pytest.raises(TokenRefused, match="has more than 8192 characters"):
        await checked.identify(issuer.token(padding="x" * 8000))
    assert issuer.asked == []


async def test_tokens_are_remembered_and_their_number_is_bounded(
    checked: OidcTokens, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "MOST_REMEMBERED", 2)
    texts = [issuer.token(sub=str(number)) for number in range(4)]
    for text in texts * 2:
        await checked.identify(text)
    assert len(checked._remembered) == 2
    assert len(issuer.asked) == 2


def test_without_an_issuer_there_are_no_tokens(clock: FakeClock) -> None:
    assert OidcTokens.of(OidcSettings(), clock) is None


@pytest.mark.parametrize("text", ["", "eyJ", "a.b.c", "tcsfeel_admin_0123456789ab_" + "0" * 48, "ey.a.b.c", "ey.a"])
def test_keys_are_no_tokens(text: str) -> None:
    assert not is_token(text)


async def test_keys_and_tokens_are_told_apart(
    sqlite: Database, checked: OidcTokens, issuer: Issuer, clock: FakeClock
) -> None:
    admin_key = AdminKey("eyes.of.the-admin-key")  # which has the form of a token
    secret = ServerSecret.load(Settings(data_dir=Path("unused")), admin_key)
    callers = Callers(sqlite, clock, admin_key, secret, issued=checked)
    assert await callers.identify("eyes.of.the-admin-key") == ADMIN
    assert issuer.asked == []
    assert (await callers.identify(issuer.token())).name == "oidc alice"
    with pytest.raises(Unauthenticated, match="is not valid: send the admin key"):
        await callers.identify("tcsfeel_admin_0123456789ab_" + "0" * 48)
    await callers.close()
