"""Send the attacks of callers over raw connections to the API, until they are cancelled, and note what they see.

What a caller sees is one word or number: the status of an answer, `cut` if the server closed the connection, `refused`
if it could not connect, or `silent` if there was no answer in time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PATIENCE = 45.0  # seconds until an answer counts as missing, since a body of any size may take 30 s
NO_CONTENT = "204"
PAUSE = 1.0  # seconds between two attacks over one connection, because the kinds matter and not their number


@dataclass(slots=True)
class Target:
    """The server that is attacked, and a function that notes what callers saw.

    Attributes:
        keys: keys and secrets of invitations, good and bad ones, by what they are.
        tell: called with the caller's name, what it saw, and the answer's Retry-After (empty if there is none).
        agents: the port of honest agents.
    """

    host: str
    port: int
    keys: Mapping[str, str]
    tell: Callable[[str, str, str], None]
    trainings: list[str] = field(default_factory=list)
    agents: int = 0


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


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of callers.

    Attributes:
        connections: over how many connections it attacks at a time.
        answers: the only statuses that it may get; empty for any.
        reads: how many answers it reads over one connection, of which the last one is noted.
        at_agents: whether it attacks an honest agent in place of the server.
    """

    attack: Attack
    connections: int = 1
    answers: frozenset[str] = frozenset()
    at_agents: bool = False
    reads: int = 1


@asynccontextmanager
async def connected(host: str, port: int, address: str) -> AsyncIterator[Line]:
    """Open a connection from an address of this machine, and close it after the block."""
    reader, writer = await asyncio.open_connection(host, port, local_addr=(address, 0))
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def go_on(name: str, kind: Kind, target: Target, address: str) -> None:
    """Attack again and again from an address."""
    port = target.agents if kind.at_agents else target.port

    async def one() -> None:
        while True:
            try:
                async with connected(target.host, port, address) as line:
                    sending = asyncio.create_task(_quietly(kind.attack, line, target))
                    try:
                        seen, after = await line.answer()
                        for _ in range(kind.reads - 1):
                            if seen != NO_CONTENT:  # another answer has a body, which is not read
                                break
                            seen, after = await line.answer()
                    finally:
                        sending.cancel()
                        await asyncio.gather(sending, return_exceptions=True)
                target.tell(name, seen, after)
            except OSError:
                target.tell(name, "refused", "")
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as group:
        for _ in range(kind.connections):
            group.create_task(one())


async def _quietly(attack: Attack, line: Line, target: Target) -> None:
    with contextlib.suppress(OSError):
        await attack(line, target)


def request(method: str, path: str, *headers: str, key: str | None = None, body: bytes = b"") -> Attack:
    """Make an attack of one request, with one of the target's keys. It has its length beside other headers."""

    async def attack(line: Line, target: Target) -> None:
        await line.send(head_of(method, path, _text(target, key), *headers, length=len(body)), body)

    return attack


def _text(target: Target, key: str | None) -> str | None:
    return None if key is None else target.keys[key]


def head_of(method: str, path: str, key: str | None, *headers: str, length: int | None = None) -> bytes:
    """Return the head of a request with the text of a key."""
    lines = [f"{method} {path} HTTP/1.1", "Host: tcsfeel", *headers]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def stream(
    method: str,
    path: str,
    pieces: Callable[[], Iterator[bytes]],
    *,
    length: int | None,
    key: str | None,
    kind: str = "application/json",
    pause: float = 0.0,
) -> Attack:
    """Make an attack whose body is sent in pieces: chunked, or announced with a `length`."""

    async def attack(line: Line, target: Target) -> None:
        headers = [f"Content-Type: {kind}"] + ([] if length is not None else ["Transfer-Encoding: chunked"])
        await line.send(head_of(method, path, _text(target, key), *headers, length=length))
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
