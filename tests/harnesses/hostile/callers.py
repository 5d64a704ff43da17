"""List the callers that attack the API, with and without a key: each has an attack and a number of connections."""

import asyncio
import json
from collections.abc import Callable, Iterator
from functools import cache

from tests.harnesses.hostile.sockets import Attack, Line, Target, head_of, raw, request, stream

PIECE = 1 << 16
MEGABYTE = 1_000_000


async def one_byte_chunks(line: Line, target: Target) -> None:
    """Send a body in chunks of one byte, many of them in each packet."""
    del target
    await line.send(head_of("POST", "/v1/trainings", None, "Transfer-Encoding: chunked"))
    for _ in range(100_000):
        await line.send(b"1\r\nx\r\n" * 1000)


async def expecting(line: Line, target: Target) -> None:
    """Ask whether a body may be sent (``Expect: 100-continue``), and never send it."""
    await line.send(
        head_of("PUT", "/v1/connectivity", target.keys["operator"], _JSON, "Expect: 100-continue", length=10 * MEGABYTE)
    )
    await asyncio.Event().wait()


async def waiting(line: Line, target: Target) -> None:
    """Wait for a round that never ends."""
    for training in target.trainings[:1]:
        await line.send(
            head_of("POST", f"/v1/trainings/{training}/rounds", target.keys["operator"], "Prefer: wait=60", length=0)
        )


def repeated(piece: bytes, size: int, begin: bytes = b"", end: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """Make a body of about `size` bytes that is never completely in memory here."""
    block = piece * max(1, PIECE // len(piece))

    def pieces() -> Iterator[bytes]:
        yield begin
        for _ in range(size // len(block)):
            yield block
        yield end

    return pieces


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _keyed(method: str, path: str, value: object) -> Attack:
    return request(method, path, "Content-Type: application/json", key="operator", body=_json(value))


def _large(method: str, path: str, value: Callable[[], object]) -> Attack:
    """Like `_keyed` for a body that takes long to make: it is made for the first of the attacks."""
    made = cache(lambda: _keyed(method, path, value()))

    async def attack(line: Line, target: Target) -> None:
        await made()(line, target)

    return attack


_CLIENT = {"url": "http://127.0.0.1:9", "data_size": 10, "compute_capacity": 1.0, "bandwidth": 1.0, "latency": 1.0}
_JSON = "Content-Type: application/json"
_SAFETENSORS = "application/vnd.safetensors"

WITHOUT_KEY: dict[str, tuple[Attack, int]] = {
    "one-byte-chunks": (one_byte_chunks, 8),
    "100-mb-after-401": (
        stream("POST", "/v1/clients", repeated(b"x", 100 * MEGABYTE), length=100 * MEGABYTE, key=None),
        4,
    ),
    "100-mb-to-nowhere": (
        stream("POST", "/nowhere", repeated(b"x", 100 * MEGABYTE), length=100 * MEGABYTE, key=None),
        4,
    ),
    "endless-chunks-after-401": (
        stream("PUT", "/v1/connectivity", repeated(b"x", 1000 * MEGABYTE), length=None, key=None),
        4,
    ),
    "length-beyond-all": (request("POST", "/v1/clients", "Content-Length: 99999999999999999999"), 2),
    "two-lengths": (
        raw(b"POST /v1/clients HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\nabc"),
        2,
    ),
    "slow-headers": (raw(b"GET /v1/clients HTTP/1.1\r\n", *[b"X: y\r\n"] * 500, pause=0.3), 20),
    "nothing-at-all": (raw(b"", pause=3600.0), 100),
    "endless-header": (raw(b"GET / HTTP/1.1\r\nX: ", *[b"x" * PIECE] * 500), 4),
    "endless-request-line": (raw(b"GET /", *[b"x" * PIECE] * 500), 4),
    "many-headers": (raw(b"GET / HTTP/1.1\r\n", *[b"X: y\r\n" * 1000] * 500), 4),
    "pipelined": (raw(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n" * 200, times=50), 4),
    "random-bytes": (raw(bytes(range(256)) * 100), 4),
    "tls": (raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500), 4),
    "websocket": (
        request(
            "GET",
            "/v1/clients",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: x",
            "Sec-WebSocket-Version: 13",
        ),
        2,
    ),
    "strange-method": (request("\x7f\x1b", "/"), 2),
    "keys-by-the-dozen": (request("GET", "/v1/clients", "Authorization: Bearer " + "k" * 4000), 4),
}

WITH_KEY: dict[str, tuple[Attack, int]] = {
    "60-mb-of-brackets": (
        stream("POST", "/v1/trainings", repeated(b"[", 60 * MEGABYTE), length=None, key="operator"),
        2,
    ),
    "60-mb-of-objects": (
        stream("POST", "/v1/selections", repeated(b'{"a":', 60 * MEGABYTE), length=None, key="operator"),
        2,
    ),
    "60-mb-of-numbers": (
        stream(
            "POST", "/v1/clients/batch", repeated(b"1e9,", 60 * MEGABYTE, b'{"clients":['), length=None, key="operator"
        ),
        1,
    ),
    "connectivity-of-rows": (
        stream(
            "PUT",
            "/v1/connectivity",
            repeated(b"[0,1],", 60 * MEGABYTE, b'{"client_ids":[],"costs":['),
            length=None,
            key="operator",
        ),
        1,
    ),
    "connectivity-header": (
        stream(
            "PUT",
            "/v1/connectivity",
            repeated(b"[],", 60 * MEGABYTE, (2**26).to_bytes(8, "little") + b'{"w":['),
            length=None,
            key="operator",
            kind=_SAFETENSORS,
        ),
        1,
    ),
    "model-header": (
        stream(
            "PUT",
            "/v1/trainings/none/model",
            repeated(b"[],", 60 * MEGABYTE, (2**26).to_bytes(8, "little") + b'{"w":['),
            length=None,
            key="operator",
            kind=_SAFETENSORS,
        ),
        1,
    ),
    "dripping-body": (
        stream("POST", "/v1/trainings", lambda: iter([b" "] * 1000), length=None, key="operator", pause=0.5),
        10,
    ),
    "body-that-stops": (stream("POST", "/v1/trainings", lambda: iter([b"{"]), length=1000, key="operator"), 10),
    "bodies-that-fill-the-room": (
        stream("POST", "/v1/clients/batch", repeated(b" ", 15 * MEGABYTE), length=16 * MEGABYTE, key="operator"),
        4,
    ),
    "expecting": (expecting, 5),
    "waiting": (waiting, 20),
    "nul-in-a-name": (_keyed("POST", "/v1/trainings", {"name": "a\0b"}), 1),
    "surrogate-in-a-name": (request("POST", "/v1/trainings", _JSON, key="operator", body=b'{"name": "\\ud800"}'), 1),
    "nul-in-a-tag": (_keyed("POST", "/v1/clients", _CLIENT | {"tags": {"a\0": "\0"}}), 1),
    "1e400": (request("POST", "/v1/clients", _JSON, key="operator", body=_json(_CLIENT).replace(b"10", b"1e400")), 1),
    "digits": (
        request("POST", "/v1/clients", _JSON, key="operator", body=_json(_CLIENT).replace(b"10", b"9" * 100_000)),
        1,
    ),
    "labels-by-the-million": (
        _large("POST", "/v1/clients", lambda: _CLIENT | {"data_distribution": {str(n): 1.0 for n in range(500_000)}}),
        1,
    ),
    "tags-by-the-thousand": (
        _large("POST", "/v1/clients", lambda: _CLIENT | {"tags": {str(n): "x" * 100 for n in range(50_000)}}),
        1,
    ),
    "name-of-10-mb": (_large("POST", "/v1/trainings", lambda: {"name": "n" * 10 * MEGABYTE}), 1),
    "exclude-by-the-million": (
        _large("POST", "/v1/selections", lambda: {"exclude": [str(n) for n in range(500_000)]}),
        1,
    ),
    "tags-by-the-thousand-in-a-query": (
        request("GET", "/v1/clients?" + "&".join(["tag=k:v"] * 1500), key="operator"),
        1,
    ),
    "cursor": (request("GET", "/v1/clients?cursor=" + "A" * 5000, key="operator"), 1),
    "range-by-the-thousand": (
        request(
            "GET",
            "/v1/trainings/none/model",
            "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(3000)),
            key="operator",
        ),
        1,
    ),
    "idempotency-key": (
        request("POST", "/v1/trainings", "Idempotency-Key: \x1b[31m\xff", _JSON, key="operator", body=b'{"name": "x"}'),
        1,
    ),
    "hyperparameters": (
        _large(
            "POST",
            "/v1/trainings",
            lambda: {"name": "x", "hyperparameters": {str(n): "v" * 1000 for n in range(20_000)}},
        ),
        1,
    ),
}
