"""Send the attacks of callers over raw connections to the API, until they are cancelled, and note what they see.

What a caller sees is one word or number: the status of an answer, `cut` if the server closed the connection, `refused`
if it could not connect, or `silent` if there was no answer in time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PATIENCE = 45.0  # seconds until an answer counts as missing, since a body of any size may take 30 s
PAUSE = 1.0  # seconds between two attacks over one connection, because the kinds matter and not their number


@dataclass(slots=True)
class Target:
    """The server that is attacked, its key, and a function that notes what callers saw.

    Attributes:
        tell: called with the caller's name, what it saw, and the answer's Retry-After (empty if there is none).
    """

    host: str
    port: int
    key: str
    tell: Callable[[str, str, str], None]
    trainings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Line:
    """A connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> tuple[str, str]:
        """Read the head of an answer, and return its status and its Retry-After. The rest is not read."""
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
    """Open a connection, and close it after the block."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def go_on(name: str, attack: Attack, target: Target, connections: int) -> None:
    """Attack again and again over this many connections at a time."""

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
    """Make an attack of one request. Its length is announced unless a header says something about it."""

    async def attack(line: Line, target: Target) -> None:
        await line.send(head_of(method, path, target if key else None, *headers, length=len(body)), body)

    return attack


def head_of(method: str, path: str, target: Target | None, *headers: str, length: int | None = None) -> bytes:
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
    """Make an attack whose body is sent in pieces: chunked, or announced with a `length`."""

    async def attack(line: Line, target: Target) -> None:
        headers = [f"Content-Type: {kind}"] + ([] if length is not None else ["Transfer-Encoding: chunked"])
        await line.send(head_of(method, path, target if key else None, *headers, length=length))
        for piece in pieces():
            await line.send(piece if length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
            if pause:
                await asyncio.sleep(pause)

    return attack


def raw(*pieces: bytes, pause: float = 0.0, times: int = 1) -> Attack:
    """Make an attack that sends these bytes, `times` times."""

    async def attack(line: Line, target: Target) -> None:
        del target
        for _ in range(times):
            for piece in pieces:
                await line.send(piece)
                await asyncio.sleep(pause)

    return attack
