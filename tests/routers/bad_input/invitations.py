"""Wrong invitations and enrolments."""

from typing import Any

from tests.routers.bad_input.values import HOSTILE_TEXT, LONG, NOT_A_COUNT, NOT_TEXT, one

LIFETIMES = list(one("expires_in_seconds", *NOT_A_COUNT, 0, 366 * 86_400))
INVITATION: list[tuple[dict[str, Any], str | tuple[str, ...]]] = [
    *LIFETIMES,
    *one("uses", *NOT_A_COUNT, 0, 100_001),
    *one("id_pattern", *NOT_TEXT, *HOSTILE_TEXT[:-1], "", "a b", "a/b", "[a]", "é", "x" * 65),
    *one("name", *NOT_TEXT, *HOSTILE_TEXT[:-1], "x" * 257),
    *one("tags", None, 7, [], {str(n): "" for n in range(65)}),
    ({"tags": {"site": 7}}, "/tags/site"),
    *one("secret", "tcsfeel_invitation_0123456789abcdef"),
]
PUBLIC_KEYS = (None, *NOT_TEXT, "", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 42 + "=", "+" * 43, LONG)
PROOFS = (None, *NOT_TEXT, "", "A" * 85, "A" * 87, "A" * 85 + "B", "A" * 86 + "==", "+" * 86, LONG)
