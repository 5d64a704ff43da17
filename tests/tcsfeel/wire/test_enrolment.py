"""The secret of an invitation, and what a device signs."""

import pytest

from tcsfeel.wire.enrolment import invitation_of, invitation_secret, proof_text

ID, RANDOM = "0123456789abcdef", "ab" * 32


def test_a_secret_names_its_invitation() -> None:
    secret = invitation_secret(ID, RANDOM)
    assert secret == f"tcsfeel_invitation_0123456789abcdef_{RANDOM}"
    assert invitation_of(secret) == ID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "an-admin-key-for-tests",
        f"tcsfeel_invitation_{ID}_{RANDOM[:-1]}",
        f"tcsfeel_invitation_{ID}_{RANDOM}\n",
        f"tcsfeel_invitation_{ID.upper()}_{RANDOM}",
        f"x tcsfeel_invitation_{ID}_{RANDOM}",
    ],
)
def test_other_texts_name_none(text: str) -> None:
    assert invitation_of(text) is None


def test_the_text_to_sign_names_what_the_device_asks_for() -> None:
    assert proof_text(invitation_id=ID, client_id="edge-7", public_key="K") == (
        b"tcsfeel enrolment 1\n0123456789abcdef\nedge-7\nK"
    )
    assert proof_text(invitation_id=ID, client_id=None, public_key="K") == (
        b"tcsfeel enrolment 1\n0123456789abcdef\n\nK"
    )
