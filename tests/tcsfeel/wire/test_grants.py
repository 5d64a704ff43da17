"""Grants with which a relay hands a task to another agent."""

import pytest

from tcsfeel.identity import Identity
from tcsfeel.wire.grants import Grant, granted_by_key, granted_by_token, read_grant

PLANE = Identity(b"p" * 32)
DIGEST = bytes(range(32))


@pytest.mark.parametrize("by", ["key", "token"])
def test_a_grant_comes_back_as_it_was_written_and_fits_its_task_only(by: str) -> None:
    made = (
        granted_by_key(PLANE, "t.1.a.fit", DIGEST, 1000)
        if by == "key"
        else granted_by_token("s3cret", "t.1.a.fit", DIGEST, 1000)
    )
    grant = read_grant(str(made))
    assert grant == made
    assert (grant.expires, grant.digest) == (1000, DIGEST.hex())

    def fits(grant: Grant, task_id: str, who: str) -> bool:
        return grant.is_by_key(who, task_id) if by == "key" else grant.is_by_token(who, task_id)

    who = PLANE.public_key if by == "key" else "s3cret"
    assert fits(grant, "t.1.a.fit", who)
    assert not fits(grant, "t.1.b.fit", who)
    assert not fits(grant, "t.1.a.fit", Identity(b"x" * 32).public_key if by == "key" else "other")
    assert not fits(Grant(1001, grant.digest, grant.proof), "t.1.a.fit", who)
    assert not fits(Grant(1000, "0" * 64, grant.proof), "t.1.a.fit", who)


def test_a_grant_of_one_kind_is_none_of_the_other() -> None:
    assert not granted_by_key(PLANE, "t", DIGEST, 1).is_by_token("", "t")
    assert not granted_by_token("x", "t", DIGEST, 1).is_by_key(PLANE.public_key, "t")


def test_an_agent_without_a_token_gets_no_proof() -> None:
    assert granted_by_token("", "t", DIGEST, 1).proof == ""
    assert not granted_by_token("", "t", DIGEST, 1).is_by_token("x", "t")


@pytest.mark.parametrize("text", ["", "relay1.", "relay1.1.2.3", "relay1.x." + "0" * 64 + ".a", "s3cret"])
def test_other_tokens_are_no_grants(text: str) -> None:
    assert read_grant(text) is None
