"""Wrong profiles and ids of clients."""

from typing import Any

from tests.api import profile
from tests.routers.bad_input.values import (
    HOSTILE_TEXT,
    HUGE,
    LONG,
    NOT_A_COUNT,
    NOT_A_NUMBER,
    NOT_TEXT,
    NUMBERS,
    one,
    text,
)

PROFILE: list[tuple[dict[str, Any], str | tuple[str, ...]]] = [
    *one("url", *NOT_TEXT, *HOSTILE_TEXT, "", "10.0.0.7", "ftp://x", "http://", "http:///path", "//x", "http:x"),
    *one(
        "url", "http://x:0", "http://x:99999", "http://x:y", "http://u:p@x", "http://x?q", "http://x#f", "http://[::1"
    ),
    *one("url", "http://x y", " http://x", "http://x\n", "http://bücher", "HTTP://x", f"http://{'x' * 3000}"),
    *one("data_size", *NOT_A_COUNT, 0, 10**12 + 1),
    *one("compute_capacity", *NOT_A_NUMBER, 0, -1.0, 1e300, 5e-324, 10**400),
    *one("bandwidth", *NOT_A_NUMBER, 0, 0.0, -1.0, 1e300, 5e-324, 10**400),
    *one("latency", *NOT_A_NUMBER, -0.5, 1e300, 10**400),
    *one("reliability", *NOT_A_NUMBER, -0.1, 1.1, 10**400),
    *one("server_cost", True, "7", [], -1.0, 1e300),
    *one("data_distribution", 7, "text", True, [], {}, [0], [0.0, 0], {"a": 0}, [1e-300], [1] * 10_001),
    ({"data_distribution": [1, -1]}, "/data_distribution/1"),
    ({"data_distribution": [1, "2", None]}, ("/data_distribution/1", "/data_distribution/2")),
    ({"data_distribution": [[1]]}, "/data_distribution/0"),
    ({"data_distribution": {"a/b": True}}, "/data_distribution/a~1b"),
    ({"data_distribution": {"a~b": -1}}, "/data_distribution/a~0b"),
    ({"data_distribution": {"a\nb": 1}}, "/data_distribution/a\nb"),
    *one("tags", None, 7, "site:north", [], [["a", "b"]], {str(n): "" for n in range(65)}),
    ({"tags": {"site": 7, "rack": None}}, ("/tags/site", "/tags/rack")),
    ({"tags": {"": "x"}}, "/tags/"),
    ({"tags": {"a\0": "x"}}, "/tags/a\0"),
    ({"tags": {"a": "x" * 257, "b": "\0", "c": "\ud800"}}, ("/tags/a", "/tags/b", "/tags/c")),
    *one("auth_token", 7, True, [], "", "two words", "a\nb", "é", "\ud800", "x" * 4097),
    *one("unknown", None, 7, "x"),
    *one("status", "healthy"),
    *one("measured", {}),
    ({"": 1}, "/"),
]
CLIENT_TEXTS = [
    *((text(profile(**{field: "?"}), number), f"/{field}") for number in NUMBERS for field in ("bandwidth", "latency")),
    (text(profile(data_size="?"), "NaN"), "/data_size"),
    (text(profile(data_size="?"), HUGE), "/data_size"),
    (text(profile(data_distribution=[1, "?"]), "NaN"), "/data_distribution/1"),
    (text(profile(bandwidth="?"), "9" * 5000), "/bandwidth"),
    (text(profile(tags="?"), '{"a":' * 50_000), ""),
]
IDS = one("id", None, *NOT_TEXT, "", "x" * 65, "a b", "a/b", "a\n", "\0", "é", "a:b", "\ud800", LONG)
OUTCOME = [
    *one("success", None, 1, "true", []),
    *one("phase", *NOT_TEXT, "", "initial model", "Fit"),
    *one("kind", *NOT_TEXT, "", "success"),
    *one("reason", *NOT_TEXT, *HOSTILE_TEXT[:-1], "", "x" * 257),
    *one("seconds", True, "7", [], 0, -1.0, 1e300, 10**400),
    *one("reliability", True, "7", [], -0.1, 1.1),
    *one("client_id", "edge-7"),
]
