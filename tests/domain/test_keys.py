"""API keys as values."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain import keys
from app.domain.errors import StateForbids
from app.domain.keys import TEXT, ApiKey, KeyState
from app.domain.principals import Principal


def of(**fields: Any) -> ApiKey:
    return ApiKey(
        id="3f0c2a9d5b7e",
        name="ci",
        role="operator",
        client_id=None,
        hash=b"h",
        created_at=100.0,
        created_by="admin key",
        **fields,
    )


@pytest.mark.parametrize(
    ("key", "state"),
    [
        (of(), "valid"),
        (of(expires_at=200.1), "valid"),
        (of(expires_at=200.0), "expired"),
        (of(revoked_at=150.0), "revoked"),
        (of(revoked_at=150.0, expires_at=120.0), "revoked"),
    ],
)
def test_a_key_is_valid_until_it_expires_or_is_revoked(key: ApiKey, state: KeyState) -> None:
    assert key.state(200.0) == state


def test_a_rotated_key_ends_after_the_grace_time_or_when_it_would_have_ended() -> None:
    assert of().rotated(now=200.0, grace_seconds=60.0).expires_at == 260.0
    assert of(expires_at=230.0).rotated(now=200.0, grace_seconds=60.0).expires_at == 230.0
    assert of(expires_at=900.0).rotated(now=200.0, grace_seconds=0.0).expires_at == 200.0


@pytest.mark.parametrize("ended", [of(expires_at=200.0), of(revoked_at=150.0)])
def test_a_key_that_is_not_valid_cannot_be_rotated(ended: ApiKey) -> None:
    with pytest.raises(StateForbids, match=r"cannot rotate a key that is (expired|revoked)"):
        ended.rotated(now=200.0, grace_seconds=60.0)


def test_a_key_names_its_caller() -> None:
    assert of().principal == Principal("operator", "ci", "3f0c2a9d5b7e", None)
    of_agent = replace(of(), role="agent", client_id="edge-7")
    assert of_agent.principal == Principal("agent", "ci", "3f0c2a9d5b7e", "edge-7")


def test_the_text_of_a_key_can_be_recognised_and_names_its_id_and_its_role() -> None:
    key_id = keys.new_id()
    text = keys.new_text("agent", key_id)
    match = TEXT.fullmatch(text)
    assert match is not None
    assert match["id"] == key_id
    assert text.startswith("tcsfeel_agent_")
    assert len({keys.new_text("agent", key_id) for _ in range(20)}) == 20
    assert len({keys.new_id() for _ in range(20)}) == 20
