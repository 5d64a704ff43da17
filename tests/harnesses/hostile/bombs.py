"""List callers whose requests would become far larger than they are, or that announce more than they send."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from tcsfeel.wire.compression import compressed
from tests.harnesses.hostile.sockets import Attack, Kind, Line, Target, head_of, request, stream

MEGABYTE = 1_000_000
LARGE = 100 * MEGABYTE  # of a bomb that went off
DEEP = 100_000
BEATS = 2000  # four times as many as a device may send at once
_JSON = "Content-Type: application/json"
_SAFETENSORS = "application/vnd.safetensors"
_REFUSED_CODING = frozenset({"415"})
_TOO_LARGE = frozenset({"413"})


def announced(method: str, path: str, *, key: str | None, kind: str = "application/json") -> Attack:
    """Announce 10 GB, and begin to send."""

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 65_536

    return stream(method, path, pieces, length=10_000 * MEGABYTE, key=key, kind=kind)


def bomb(coding: str, make: Callable[[bytes], bytes], *, size: int = LARGE) -> Kind:
    """Send a body that is small as it is sent, in this Content-Encoding."""
    made = cache(lambda: make(b"[" * size))

    async def attack(line: Line, target: Target) -> None:
        headers = (_JSON, f"Content-Encoding: {coding}")
        await line.send(head_of("POST", "/v1/trainings", target.keys["operator"], *headers, length=len(made())), made())

    return Kind(attack, answers=_REFUSED_CODING)


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1)


async def extensions(line: Line, target: Target) -> None:
    """Send a chunk whose extension never ends."""
    await line.send(head_of("POST", "/v1/trainings", target.keys["operator"], _JSON, "Transfer-Encoding: chunked"))
    await line.send(b"1;")
    for _ in range(500):
        await line.send(b"e" * 65_536)


async def trailers(line: Line, target: Target) -> None:
    """Send trailers without end after a body."""
    await line.send(head_of("POST", "/v1/trainings", target.keys["operator"], _JSON, "Transfer-Encoding: chunked"))
    await line.send(b"1\r\n{\r\n0\r\n")
    for _ in range(500):
        await line.send(b"X: y\r\n" * 1000)


async def beats_by_the_hundred(line: Line, target: Target) -> None:
    """Send the heartbeats of a device much faster than it may."""
    beat = head_of("POST", f"/v1/clients/{target.keys['agent id']}/heartbeat", target.keys["agent"], length=0)
    for _ in range(BEATS // 100):
        await line.send(beat * 100)


def _deep(path: str, begin: bytes, end: bytes) -> Kind:
    body = begin + b"[" * DEEP + b"]" * DEEP + end
    return Kind(request("POST", path, _JSON, key="operator", body=body), answers=frozenset({"422", "413"}))


BOMBS: dict[str, Kind] = {
    "10-gb-without-key": Kind(announced("POST", "/v1/clients", key=None), answers=frozenset({"401"})),
    "10-gb-of-json": Kind(announced("POST", "/v1/clients/batch", key="operator"), answers=_TOO_LARGE),
    "10-gb-of-matrix": Kind(
        announced("PUT", "/v1/connectivity", key="operator", kind=_SAFETENSORS), answers=_TOO_LARGE
    ),
    "10-gb-of-model": Kind(
        announced("PUT", "/v1/trainings/0123456789abcdef/model", key="operator", kind=_SAFETENSORS),
        answers=frozenset({"404", "413"}),
    ),
    "gzip-bomb": bomb("gzip", _gzipped),
    "deflate-bomb": bomb("deflate", lambda data: zlib.compress(data, 1)),
    "zstd-bomb": bomb("zstd", lambda data: b"".join(map(bytes, compressed(iter([data]))))),
    "brotli-not-taken": bomb("br", lambda data: data, size=1000),
    "gzip-in-gzip": bomb("gzip, gzip", lambda data: _gzipped(_gzipped(data))),
    "deep-json": _deep("/v1/trainings", b"", b""),
    "deep-json-in-a-field": _deep("/v1/trainings", b'{"name": "x", "hyperparameters": {"a": ', b"}}"),
    "deep-json-in-a-batch": _deep("/v1/clients/batch", b'{"clients": [{"tags": ', b"}]}"),
    "key-a-thousand-times": Kind(
        request("POST", "/v1/trainings", _JSON, key="operator", body=b"{" + b'"name": "x",' * 5000 + b'"name": 1}'),
        answers=frozenset({"422", "413"}),
    ),
    "chunk-extension-without-end": Kind(extensions),
    "trailers-without-end": Kind(trailers),
    "cookies": Kind(
        request("GET", "/v1/clients", *[f"Cookie: {'c' * 1000}={n}" for n in range(15)]),
        answers=frozenset({"401", "431"}),
    ),
    "beats-by-the-hundred": Kind(beats_by_the_hundred, answers=frozenset({"204", "429"}), reads=BEATS),
    "queries-by-the-thousand": Kind(
        request("GET", "/v1/audit?" + "&".join(f"a{n}=1" for n in range(1500)), key="viewer"),
        answers=frozenset({"403"}),
    ),
    "json-text": Kind(
        request("POST", "/v1/trainings", _JSON, key="operator", body=json.dumps("x" * MEGABYTE).encode()),
        answers=frozenset({"422", "413"}),
    ),
}
