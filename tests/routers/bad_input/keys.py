"""What is wrong with a request for an API key."""

from typing import Any

from tests.routers.bad_input.values import HOSTILE_TEXT, NOT_TEXT, one

LIVES: tuple[Any, ...] = (True, "7", [], 0, 0.5, -1, 1e300, 10**400)

KEY = [
    *one("name", *NOT_TEXT, *HOSTILE_TEXT[:-1], None, "", " ci", "-ci", "x" * 65, "c\u0131", "admin key", "server"),
    *one("role", *NOT_TEXT, None, "", "root", "Admin"),
    *one("lifetime_seconds", *LIVES),
    *one("client_id", *NOT_TEXT, "", "a b", "edge-7"),
    *one("key", "tcsfeel_admin_0"),
    ({"role": "agent"}, "/client_id"),
    ({"role": "agent", "client_id": "a b"}, "/client_id"),
]
