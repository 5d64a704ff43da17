"""What an invitation's secret looks like, and what a device signs to enrol with it.

The secret is ``tcsfeel_invitation_<id>_<64 hexadecimal digits>``. Its form lets programs find secrets that were
published by mistake. The id in it says which invitation it belongs to, so the control plane compares it with one
invitation only.
"""

import re

_FORM = re.compile(r"tcsfeel_invitation_([0-9a-f]{16})_[0-9a-f]{64}")


def invitation_of(secret: str) -> str | None:
    """Return the id of the invitation to which a secret belongs, or None if the text is no such secret."""
    match = _FORM.fullmatch(secret)
    return None if match is None else match[1]


def invitation_secret(invitation_id: str, random: str) -> str:
    """Write the secret of an invitation. `random` has 64 hexadecimal digits."""
    return f"tcsfeel_invitation_{invitation_id}_{random}"


def proof_text(*, invitation_id: str, client_id: str | None, public_key: str) -> bytes:
    """Return the text that a device signs, to prove that it has the private key.

    It names what the device asks for, so a signature that was made for something else does not fit. `client_id` is None
    if the control plane is to choose the id.
    """
    return "\n".join(("tcsfeel enrolment 1", invitation_id, client_id or "", public_key)).encode()
