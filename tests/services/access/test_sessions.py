"""A session stands for its key, at every server with the secret, until it ends."""

import json

import pytest

from app.services.access.secrets import ENCRYPTED, ServerSecret
from app.services.access.sessions import LONGEST, SECONDS, Sessions
from tcsfeel.errors import Invalid
from tests.clocks import FakeClock

KEY = "tcsfeel_viewer_0123456789ab_" + "0" * 48
SECRET = ServerSecret([b"a secret"])


def test_a_session_is_its_key_for_half_a_day_at_every_server_with_the_secret() -> None:
    clock = FakeClock()
    sealed = Sessions(SECRET, clock).seal(KEY)
    assert KEY not in sealed
    other = Sessions(ServerSecret([b"a newer one", b"a secret"]), clock)
    assert other.key_of(sealed) == KEY
    assert other.cookie == Sessions(SECRET, clock).cookie
    clock.advance(SECONDS - 1)
    assert other.key_of(sealed) == KEY
    clock.advance(1)
    assert other.key_of(sealed) is None


def test_what_this_server_did_not_make_as_a_session_is_none() -> None:
    clock = FakeClock()
    sessions = Sessions(SECRET, clock)
    sealed = sessions.seal(KEY)
    foreign = Sessions(ServerSecret([b"another"]), clock)
    assert foreign.key_of(sealed) is None
    assert foreign.cookie != sessions.cookie
    for text in ("token", json.dumps(["other", clock.now() + 9, KEY]), json.dumps([1]), json.dumps(7)):
        assert sessions.key_of(SECRET.encrypt(text).removeprefix(ENCRYPTED)) is None
    for wrong in (None, "", KEY, sealed[:-2], f"{ENCRYPTED}{sealed}", "é", "x" * (LONGEST + 1)):
        assert sessions.key_of(wrong) is None


def test_a_key_that_no_cookie_can_hold_is_refused() -> None:
    with pytest.raises(Invalid, match="too long"):
        Sessions(SECRET, FakeClock()).seal("x" * LONGEST)
