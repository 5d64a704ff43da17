"""Wrong webhooks."""

from typing import Any

from tests.routers.bad_input.values import HOSTILE_TEXT, NOT_TEXT, one

URLS = (
    "",
    "a",
    "ftp://a",
    "http://",
    "http://a:0",
    "http://u:p@a",
    "http://a/?q",
    "http://a/#f",
    "http://a b",
    "http://" + "a" * 3000,
)
WEBHOOK: list[tuple[dict[str, Any], str | tuple[str, ...]]] = [
    *one("url", None, *NOT_TEXT, *URLS),
    *one("types", 7, "round.completed", {}),
    *(
        ({"types": ["round.completed", value]}, "/types/1")
        for value in (7, "", "round", "Round.completed", "a.b.c", "a." + "b" * 40)
    ),
    ({"types": ["a.b"] * 51}, "/types"),
    *one("training_id", *NOT_TEXT, "", "a b", "x" * 65),
    *one("name", *NOT_TEXT, *HOSTILE_TEXT[:-1], "x" * 257),
    *one("secret", "whsec_"),
]
