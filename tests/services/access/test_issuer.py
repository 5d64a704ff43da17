"""How the keys of an issuer of tokens are fetched and kept."""

import asyncio
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from structlog.testing import capture_logs

from app.services.access import issuer as module
from app.services.access.issuer import (
    FRESH_SECONDS,
    PAUSE_SECONDS,
    RETRY_SECONDS,
    STALE_SECONDS,
    IssuerKeys,
    IssuerUnavailable,
)
from tests.services.access.issuers import Issuer, keys


class Hand:
    """A clock that stands still until the test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


async def known(found: IssuerKeys, kid: str) -> bool:
    return await found.find(kid) is not None


async def settled(found: IssuerKeys) -> None:
    """Wait until a fetch in the background has ended."""
    await found._refreshed()


async def test_keys_are_fetched_once_for_all_who_wait(issuer: Issuer, hand: Hand) -> None:
    found = IssuerKeys(issuer.settings, clock=hand)
    assert issuer.asked == []
    assert all(await asyncio.gather(*(known(found, "rsa-1") for _ in range(20))))
    assert issuer.asked == ["/realm/.well-known/openid-configuration", "/realm/jwks"]


async def test_an_unknown_key_is_looked_for_once_in_a_while(issuer: Issuer, hand: Hand) -> None:
    found = IssuerKeys(issuer.settings, clock=hand)
    assert await known(found, "rsa-1")
    for _ in range(5):
        assert not await known(found, "new")
    assert len(issuer.asked) == 2
    issuer.published.append(ECKey.generate_key("P-256", {"kid": "new"}).as_dict(private=False))
    hand.now += PAUSE_SECONDS
    assert all(await asyncio.gather(*(known(found, "new") for _ in range(20))))
    assert len(issuer.asked) == 4


async def test_a_key_that_the_issuer_has_withdrawn_is_forgotten(issuer: Issuer, hand: Hand) -> None:
    found = IssuerKeys(issuer.settings, clock=hand)
    assert await known(found, "rsa-1")
    del issuer.published[0]
    hand.now += FRESH_SECONDS + 1
    assert await known(found, "rsa-1")  # the fetch goes on in the background
    generation = found.generation
    await settled(found)
    assert not await known(found, "rsa-1")
    assert await known(found, "ec-1")
    assert found.generation == generation + 1


@pytest.mark.parametrize(
    "mode", ["fails", "moves", "huge", "deep", "garbage", "empty", "other issuer", "insecure", "nothing"]
)
async def test_while_the_issuer_answers_wrongly_the_last_keys_stay(issuer: Issuer, hand: Hand, mode: str) -> None:
    found = IssuerKeys(issuer.settings, clock=hand)
    assert await known(found, "rsa-1")
    issuer.mode = mode
    hand.now += FRESH_SECONDS + 1
    with capture_logs() as lines:
        for _ in range(3):
            assert await known(found, "rsa-1")
            await settled(found)
            hand.now += RETRY_SECONDS
    assert [line["event"] for line in lines] == ["the keys of the issuer of tokens cannot be fetched"]
    hand.now += STALE_SECONDS
    with pytest.raises(IssuerUnavailable):
        await found.find("rsa-1")
    asked = len(issuer.asked)
    with pytest.raises(IssuerUnavailable):
        await found.find("rsa-1")
    assert len(issuer.asked) == asked  # it is not asked again at once
    issuer.mode = "well"
    hand.now += RETRY_SECONDS
    assert await known(found, "rsa-1")


async def test_an_issuer_that_hangs_is_given_up(issuer: Issuer, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_SECONDS", 0.5)
    issuer.mode = "hangs"
    found = IssuerKeys(issuer.settings, clock=hand)
    results = await asyncio.gather(*(found.find("rsa-1") for _ in range(10)), return_exceptions=True)
    assert {type(result) for result in results} == {IssuerUnavailable}
    assert len(issuer.asked) == 1


async def test_a_fetch_that_is_under_way_ends_with_the_server(issuer: Issuer, hand: Hand) -> None:
    issuer.mode = "hangs"
    found = IssuerKeys(issuer.settings, clock=hand)
    waiting = asyncio.create_task(found.find("rsa-1"))
    while not issuer.asked:  # noqa: ASYNC110  (the issuer notes what it was asked)
        await asyncio.sleep(0.001)
    await found.close()
    with pytest.raises(IssuerUnavailable):
        await waiting


def unusable() -> list[dict[str, Any]]:
    elliptic = keys()["ES256"]
    assert isinstance(elliptic, ECKey)
    return [
        OctKey.generate_key(256, {"kid": "secret"}).as_dict(private=True),
        ECKey.generate_key("P-256", {"kid": "private"}).as_dict(private=True),
        elliptic.as_dict(private=False) | {"kid": "broken", "x": "AA"},
        elliptic.as_dict(private=False) | {"kid": 5},
        {"kty": "RSA", "kid": "no number"},
        {"kty": "RSA", "kid": "small", "n": "_" * 86, "e": "AQAB"},
        {"kty": "RSA", "kid": "large", "n": "_" * 20_000, "e": "AQAB"},
        {"kty": "AKP", "kid": "of another kind", "pub": "AA"},
        {"kid": "nothing"},
    ]


async def test_keys_that_cannot_be_used_are_left_out(issuer: Issuer, hand: Hand) -> None:
    issuer.published += unusable()
    found = IssuerKeys(issuer.settings, clock=hand)
    assert [key.kid for key in found._keys] == []
    assert await known(found, "rsa-1")
    assert [key.kid for key in found._keys] == ["rsa-1", "ec-1", "ed-1"]
    assert isinstance(found._keys[0], RSAKey)
