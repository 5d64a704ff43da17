"""Who may enrol with an invitation, under which id, and what it means that a device does."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.clients import Client, Profile
from app.domain.errors import CannotEnrol, InvitationOver
from app.domain.invitations import Enrolment, Invitation, outcome
from tcsfeel.errors import Invalid

DIGITS = "0123456789abcdef" * 4


def invitation(**fields: Any) -> Invitation:
    given: dict[str, Any] = {"id": "i1", "secret_hash": b"", "uses": 2, "created_at": 100.0, "expires_at": 200.0}
    return Invitation(**(given | fields))


def enrolment(**fields: Any) -> Enrolment:
    given: dict[str, Any] = {
        "client_id": "edge-7", "public_key": "K7", "invitation_id": "i1", "key_id": "k", "enrolled_at": 150.0,
    }  # fmt: skip
    return Enrolment(**(given | fields))


def decide(found: Invitation, client_id: str = "edge-7", public_key: str = "K7", **facts: Any) -> str:
    given: dict[str, Any] = {
        "now": 199.5, "of_key": None, "of_id": None, "is_registered": False, "is_revoked": False,
    }  # fmt: skip
    return outcome(found, client_id, public_key, **(given | facts))


@pytest.mark.parametrize(
    ("fields", "state", "left"),
    [
        ({}, "open", 2),
        ({"used": 1}, "open", 1),
        ({"used": 2}, "used_up", 0),
        ({"used": 3}, "used_up", 0),
        ({"expires_at": 150.0}, "expired", 2),
        ({"expires_at": 150.5}, "open", 2),
        ({"expires_at": 150.0, "used": 2}, "expired", 0),
        ({"revoked_at": 120.0}, "revoked", 2),
        ({"revoked_at": 120.0, "expires_at": 150.0, "used": 2}, "revoked", 0),
    ],
)
def test_the_state_of_an_invitation(fields: dict[str, Any], state: str, left: int) -> None:
    found = invitation(**fields)
    assert (found.state(150.0), found.uses_left) == (state, left)


def test_an_invitation_is_revoked_once_and_counts_its_uses() -> None:
    assert invitation().revoked(130.0).revoked(140.0) == invitation(revoked_at=130.0)
    assert invitation().used_once_more().used_once_more() == invitation(used=2)


@pytest.mark.parametrize(
    ("pattern", "client_id", "allowed"),
    [
        (None, "anything", True),
        ("edge-*", "edge-7", True),
        ("edge-*", "edge-", True),
        ("edge-*", "Edge-7", False),
        ("edge-?", "edge-7", True),
        ("edge-?", "edge-77", False),
        ("edge-7", "edge-7", True),
        ("edge-7", "edge-8", False),
        ("a.b", "axb", False),
        ("*-x-*", "edge-x-1", True),
    ],
)
def test_an_id_has_to_match_the_pattern(pattern: str | None, client_id: str, allowed: bool) -> None:
    found = invitation(id_pattern=pattern)
    if allowed:
        found.check_id(client_id)
        return
    with pytest.raises(Invalid) as refused:
        found.check_id(client_id)
    assert refused.value.pointer == "/client_id"
    assert refused.value.detail == f"should match {pattern}, which is what this invitation is for"


@pytest.mark.parametrize(
    ("pattern", "made"),
    [
        (None, "client-0123456789ab"),
        ("edge-*", "edge-0123456789ab"),
        ("edge-7", "edge-7"),
        ("?-*-*", "c-0123456789ab-"),
        ("e??", "e01"),
        (f"{'e' * 60}*", f"{'e' * 60}0123"),
        ("?" * 64, DIGITS),
        (f"{'e' * 63}*", f"{'e' * 63}0"),
    ],
)
def test_an_id_is_made_that_the_pattern_allows(pattern: str | None, made: str) -> None:
    found = invitation(id_pattern=pattern)
    assert found.made_id(DIGITS) == made
    found.check_id(made)


def test_a_new_device_enrols() -> None:
    assert decide(invitation()) == "enrolled"
    assert decide(invitation(id_pattern="edge-*")) == "enrolled"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"used": 2}, "has been used up"),
        ({"expires_at": 199.5}, "has expired"),
        ({"revoked_at": 1.0}, "has been revoked"),
    ],
)
def test_an_invitation_that_is_over_admits_nobody(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvitationOver, match=f"^the invitation i1 {words}: ask an operator for a new one$") as refused:
        decide(invitation(**fields))
    assert (refused.value.invitation_id, refused.value.state) == ("i1", invitation(**fields).state(199.5))


def test_a_device_repeats_with_an_invitation_that_it_has_used_up_itself() -> None:
    known = enrolment()
    assert decide(invitation(used=2), of_key=known, of_id=known) == "repeated"
    assert decide(invitation(used=1), of_key=known, of_id=known, is_registered=True) == "repeated"


@pytest.mark.parametrize("fields", [{"expires_at": 150.0}, {"revoked_at": 1.0}])
def test_a_device_does_not_repeat_with_an_invitation_that_is_no_longer_valid(fields: dict[str, Any]) -> None:
    known = enrolment()
    with pytest.raises(InvitationOver):
        decide(invitation(**fields), of_key=known, of_id=known)


def test_a_device_whose_key_was_revoked_needs_a_replacement() -> None:
    known = enrolment()
    words = "the key of this client has been revoked; an operator can let .* POST /v1/clients/edge-7/replacement$"
    for one in (invitation(), invitation(id="i2")):
        with pytest.raises(CannotEnrol, match=words):
            decide(one, of_key=known, of_id=known, is_revoked=True)
    replacing = invitation(id="i2", replaces="edge-7", id_pattern="edge-7")
    assert decide(replacing, of_key=known, of_id=known, is_revoked=True) == "replaced"


def test_the_same_device_enrols_again_with_another_invitation() -> None:
    known = enrolment()
    assert decide(invitation(id="i2"), of_key=known, of_id=known, is_registered=True) == "enrolled"
    with pytest.raises(InvitationOver):
        decide(invitation(id="i2", used=2), of_key=known, of_id=known)


def test_another_device_cannot_take_an_id_that_has_enrolled() -> None:
    with pytest.raises(CannotEnrol, match="'edge-7': another device has enrolled under this id; an operator") as error:
        decide(invitation(id_pattern="*"), public_key="K8", of_id=enrolment(), is_registered=True)
    assert (error.value.client_id, error.value.reason) == ("edge-7", "another device has enrolled under this id")


def test_a_public_key_has_one_client() -> None:
    with pytest.raises(CannotEnrol, match=r"belongs to another client: make a new one for each client$"):
        decide(invitation(), "edge-8", of_key=enrolment())
    with pytest.raises(CannotEnrol, match="belongs to another client"):
        decide(invitation(replaces="edge-8"), "edge-8", of_key=enrolment(), of_id=enrolment(client_id="edge-8"))


def test_a_replacement_puts_another_device_in_the_place_of_one() -> None:
    replacing = invitation(id="i2", uses=1, replaces="edge-7", id_pattern="edge-7")
    assert decide(replacing, public_key="K8", of_id=enrolment(), is_registered=True) == "replaced"
    assert decide(replacing, of_key=enrolment(), of_id=enrolment()) == "replaced"  # it has lost only its key
    assert decide(replacing, public_key="K8", is_registered=True) == "enrolled"  # it had none
    new = enrolment(public_key="K8", invitation_id="i2")
    assert decide(replace(replacing, used=1), public_key="K8", of_key=new, of_id=new) == "repeated"
    with pytest.raises(InvitationOver):
        decide(replace(replacing, used=1), public_key="K9", of_id=new)


def test_an_id_that_is_registered_is_taken_only_if_a_pattern_names_it() -> None:
    with pytest.raises(CannotEnrol, match="a client without a public key is registered under this id"):
        decide(invitation(), is_registered=True)
    assert decide(invitation(id_pattern="edge-*"), is_registered=True) == "enrolled"


def test_a_client_belongs_to_the_device_that_has_enrolled() -> None:
    profile = Profile(
        url="http://a", data_size=1, compute_capacity=1.0, bandwidth=1.0, latency=0.0, tags={"site": "mine", "x": "y"}
    )
    client = Client(id="edge-7", profile=profile, created_at=1.0, updated_at=1.0)
    assert client.of_device(None) is client
    assert client.of_device(enrolment(tags={"site": "north", "rack": "3"})) == replace(
        client,
        profile=replace(profile, tags={"site": "north", "x": "y", "rack": "3"}),
        public_key="K7",
        invitation_id="i1",
        enrolled_at=150.0,
    )
