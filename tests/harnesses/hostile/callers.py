"""Who attacks the API: raw sockets, with and without a key. Each caller goes on until it is cancelled.

A caller tells what it saw as one word or number: the status of an answer, `cut` where the server closed the connection,
`refused` where it could not connect, `silent` where nothing came in time.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PATIENCE = 20.0  # seconds until an answer counts as missing
PAUSE = 0.2  # seconds between two attacks of one caller
PIECE = 1 << 16
MEGABYTE = 1_000_000


@dataclass(slots=True)
class Target:
    """The server, its key, and where callers tell what they saw.

    Attributes:
        tell: called with the caller's name, what it saw, and the answer's Retry-After (empty without one).
    """

    host: str
    port: int
    key: str
    tell: Callable[[str, str, str], None]
    trainings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Line:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> tuple[str, str]:
        """Read one answer's head: its status and its Retry-After. The rest of the connection is of no interest."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except TimeoutError:
            return "silent", ""
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return "cut", ""
        status = head.split(" ", 2)[1] if head.startswith("HTTP/1.") else "no HTTP"
        after = [
            line.partition(":")[2].strip() for line in head.split("\r\n") if line.lower().startswith("retry-after:")
        ]
        return status, "".join(after)


Attack = Callable[[Line, Target], Awaitable[None]]


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Line]:
    """Open a connection, and close it at once behind the block."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def go_on(name: str, attack: Attack, target: Target, connections: int) -> None:
    """Attack over so many connections at a time, again and again."""

    async def one() -> None:
        while True:
            try:
                async with connected(target) as line:
                    sending = asyncio.create_task(_quietly(attack, line, target))
                    try:
                        seen, after = await line.answer()
                    finally:
                        sending.cancel()
                        await asyncio.gather(sending, return_exceptions=True)
                target.tell(name, seen, after)
            except OSError:
                target.tell(name, "refused", "")
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())


async def _quietly(attack: Attack, line: Line, target: Target) -> None:
    with contextlib.suppress(OSError):
        await attack(line, target)


def request(method: str, path: str, *headers: str, key: bool = False, body: bytes = b"") -> Attack:
    """One request; its length is announced unless a header says something of it."""

    async def attack(line: Line, target: Target) -> None:
        await line.send(_head(method, path, target if key else None, *headers, length=len(body)), body)

    return attack


def _head(method: str, path: str, target: Target | None, *headers: str, length: int | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: tcsfeel", *headers]
    if target is not None:
        lines.append(f"Authorization: Bearer {target.key}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def stream(
    method: str,
    path: str,
    pieces: Callable[[], Iterator[bytes]],
    *,
    length: int | None,
    key: bool,
    kind: str = "application/json",
    pause: float = 0.0,
) -> Attack:
    """A request whose body comes in pieces: chunked, or announced with a `length`."""

    async def attack(line: Line, target: Target) -> None:
        headers = [f"Content-Type: {kind}"] + ([] if length is not None else ["Transfer-Encoding: chunked"])
        await line.send(_head(method, path, target if key else None, *headers, length=length))
        for piece in pieces():
            await line.send(piece if length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
            if pause:
                await asyncio.sleep(pause)

    return attack


def raw(*pieces: bytes, pause: float = 0.0, times: int = 1) -> Attack:
    """These bytes, so many times."""

    async def attack(line: Line, target: Target) -> None:
        del target
        for _ in range(times):
            for piece in pieces:
                await line.send(piece)
                await asyncio.sleep(pause)

    return attack


async def one_byte_chunks(line: Line, target: Target) -> None:
    """Send a body in chunks of one byte, many of them in each packet."""
    del target
    await line.send(_head("POST", "/v1/trainings", None, "Transfer-Encoding: chunked"))
    for _ in range(100_000):
        await line.send(b"1\r\nx\r\n" * 1000)


async def expecting(line: Line, target: Target) -> None:
    """Ask for leave to send a body, and never send it."""
    await line.send(_head("PUT", "/v1/connectivity", target, "Expect: 100-continue", length=10 * MEGABYTE))
    await asyncio.Event().wait()


async def waiting(line: Line, target: Target) -> None:
    """Wait for a round that never ends."""
    for training in target.trainings[:1]:
        await line.send(_head("POST", f"/v1/trainings/{training}/rounds", target, "Prefer: wait=60", length=0))


def repeated(piece: bytes, size: int, begin: bytes = b"", end: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """A body of about `size` bytes that is never whole in memory here."""
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
    return request(method, path, "Content-Type: application/json", key=True, body=_json(value))


_CLIENT = {"url": "http://127.0.0.1:9", "data_size": 10, "compute_capacity": 1.0, "bandwidth": 1.0, "latency": 1.0}
_JSON = "Content-Type: application/json"
_SAFETENSORS = "application/vnd.safetensors"

WITHOUT_KEY: dict[str, tuple[Attack, int]] = {
    "one-byte-chunks": (one_byte_chunks, 8),
    "100-mb-after-401": (
        stream("POST", "/v1/clients", repeated(b"x", 100 * MEGABYTE), length=100 * MEGABYTE, key=False),
        4,
    ),
    "100-mb-to-nowhere": (
        stream("POST", "/nowhere", repeated(b"x", 100 * MEGABYTE), length=100 * MEGABYTE, key=False),
        4,
    ),
    "endless-chunks-after-401": (
        stream("PUT", "/v1/connectivity", repeated(b"x", 1000 * MEGABYTE), length=None, key=False),
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
    "60-mb-of-brackets": (stream("POST", "/v1/trainings", repeated(b"[", 60 * MEGABYTE), length=None, key=True), 2),
    "60-mb-of-objects": (stream("POST", "/v1/selections", repeated(b'{"a":', 60 * MEGABYTE), length=None, key=True), 2),
    "60-mb-of-numbers": (
        stream("POST", "/v1/clients/batch", repeated(b"1e9,", 60 * MEGABYTE, b'{"clients":['), length=None, key=True),
        1,
    ),
    "connectivity-of-rows": (
        stream(
            "PUT",
            "/v1/connectivity",
            repeated(b"[0,1],", 60 * MEGABYTE, b'{"client_ids":[],"costs":['),
            length=None,
            key=True,
        ),
        1,
    ),
    "connectivity-header": (
        stream(
            "PUT",
            "/v1/connectivity",
            repeated(b"[],", 60 * MEGABYTE, (2**26).to_bytes(8, "little") + b'{"w":['),
            length=None,
            key=True,
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
            key=True,
            kind=_SAFETENSORS,
        ),
        1,
    ),
    "dripping-body": (stream("POST", "/v1/trainings", repeated(b" ", 100_000), length=None, key=True, pause=0.5), 10),
    "body-that-stops": (request("POST", "/v1/trainings", _JSON, "Content-Length: 1000", key=True), 10),
    "expecting": (expecting, 5),
    "waiting": (waiting, 20),
    "nul-in-a-name": (_keyed("POST", "/v1/trainings", {"name": "a\0b"}), 1),
    "surrogate-in-a-name": (request("POST", "/v1/trainings", _JSON, key=True, body=b'{"name": "\\ud800"}'), 1),
    "nul-in-a-tag": (_keyed("POST", "/v1/clients", _CLIENT | {"tags": {"a\0": "\0"}}), 1),
    "1e400": (request("POST", "/v1/clients", _JSON, key=True, body=_json(_CLIENT).replace(b"10", b"1e400")), 1),
    "digits": (request("POST", "/v1/clients", _JSON, key=True, body=_json(_CLIENT).replace(b"10", b"9" * 100_000)), 1),
    "labels-by-the-million": (
        _keyed("POST", "/v1/clients", _CLIENT | {"data_distribution": {str(n): 1.0 for n in range(500_000)}}),
        1,
    ),
    "tags-by-the-thousand": (
        _keyed("POST", "/v1/clients", _CLIENT | {"tags": {str(n): "x" * 100 for n in range(50_000)}}),
        1,
    ),
    "name-of-10-mb": (_keyed("POST", "/v1/trainings", {"name": "n" * 10 * MEGABYTE}), 1),
    "exclude-by-the-million": (_keyed("POST", "/v1/selections", {"exclude": [str(n) for n in range(500_000)]}), 1),
    "cursor": (request("GET", "/v1/clients?cursor=" + "A" * 5000, key=True), 1),
    "range-by-the-thousand": (
        request(
            "GET", "/v1/trainings/none/model", "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(3000)), key=True
        ),
        1,
    ),
    "idempotency-key": (
        request("POST", "/v1/trainings", "Idempotency-Key: \x1b[31m\xff", _JSON, key=True, body=b'{"name": "x"}'),
        1,
    ),
    "hyperparameters": (
        _keyed("POST", "/v1/trainings", {"name": "x", "hyperparameters": {str(n): "v" * 1000 for n in range(20_000)}}),
        1,
    ),
}

CALLERS = {name: (attack, count) for name, (attack, count) in (WITHOUT_KEY | WITH_KEY).items()}
