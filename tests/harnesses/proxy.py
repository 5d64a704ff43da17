"""Break and record the calls between the control plane and one agent with a TCP proxy.

It understands enough of HTTP to tell one request from the next, because a connection serves many. It has these faults:

    refuse     the proxy does not listen, and resets its connections. The kernel refuses such calls, so none is recorded
    reset      the request is read, then the connection is reset
    hang       the request is read, and there is no answer
    slow       the answer comes at some bytes a second
    cut        the connection is reset within the answer
    corrupt    one bit of the answer is flipped
    flap       each request draws: it passes, or the connection is reset
"""

import asyncio
import contextlib
import hashlib
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

Fault = Literal["refuse", "reset", "hang", "slow", "cut", "corrupt", "flap"]
Mode = Literal["pass", Fault]
FAULTS: tuple[Fault, ...] = get_args(Fault)
SLOW_PIECES_A_SECOND = 10


@dataclass(eq=False, kw_only=True)
class Call:
    """A request. Times are unix seconds. It `ended` when its answer had been passed on, or its connection was closed.

    Attributes:
        answer: the SHA-256 of the answer's body as the agent sent it, if the answer was a success.
        flipped: where a bit of the answer was flipped, in its head or its body.
        corrupted: the SHA-256 of the body with the flipped bit.
        repeatable: whether the proxy has reset a connection that had answered before, without a byte of an answer. A
            caller cannot tell then whether the request was read, and sends it again (RFC 9112, 9.3.1).
    """

    client_id: str
    method: str
    path: str
    mode: Mode
    began: float
    ended: float | None = None
    answer: str | None = None
    flipped: Literal["head", "body"] | None = None
    corrupted: str | None = None
    repeatable: bool = False


class Proxy:
    """A proxy with a port of its own, which stays reserved while the proxy does not listen."""

    def __init__(self, client_id: str, upstream: tuple[str, int], rng: random.Random, record: list[Call]) -> None:
        self.mode: Mode = "pass"
        self._client_id = client_id
        self._upstream = upstream
        self._rng = rng
        self._record = record
        self._reserved = _bound(0)
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._unanswered: dict[asyncio.StreamWriter, Call] = {}  # calls on connections that have answered before

    @property
    def port(self) -> int:
        port: int = self._reserved.getsockname()[1]
        return port

    async def set_mode(self, mode: Mode) -> None:
        self.mode = mode
        if mode != "refuse":
            await self._listen()
        elif self._server is not None:
            self._server.close()
            self._server = None
            for writer in list(self._serving.values()):
                self._break_off(writer)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._reserved.close()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, sock=_bound(self.port))

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving[task] = writer
        task.add_done_callback(self._serving.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agent: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            agent = await asyncio.open_connection(*self._upstream)
            kept = False
            while await self._exchange(reader, writer, *agent, kept=kept):
                kept = True
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # one of the two has hung up
        finally:
            for end in (writer, *(() if agent is None else (agent[1],))):
                end.transport.abort()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        agent: asyncio.StreamReader,
        to_agent: asyncio.StreamWriter,
        *,
        kept: bool,
    ) -> bool:
        """Pass on a request and its answer. Returns False if the connection has ended."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        call = Call(client_id=self._client_id, method=method, path=path, mode=self.mode, began=time.time())
        self._record.append(call)
        if kept:
            self._unanswered[writer] = call
        try:
            request = head + await reader.readexactly(_length(head))
            if call.mode == "reset" or (call.mode == "flap" and self._rng.random() < 0.5):
                self._break_off(writer)
                return False
            if call.mode == "hang":
                await reader.read(1)
                return False
            to_agent.write(request)
            answer = await _unless_gone(_answer(agent), reader)
            if answer is None:
                return False
            return await self._send(call, *answer, writer)
        finally:
            call.ended = time.time()
            self._unanswered.pop(writer, None)

    async def _send(self, call: Call, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Pass on the answer with a fault."""
        if head.split(b" ", 2)[1] == b"200":
            call.answer = hashlib.sha256(body).hexdigest()
        answer = bytearray(head + body)
        if call.mode == "corrupt":
            place = self._rng.randrange(len(answer))
            answer[place] ^= 1 << self._rng.randrange(8)
            call.flipped = "head" if place < len(head) else "body"
            call.corrupted = hashlib.sha256(answer[len(head) :]).hexdigest()
        elif call.mode == "cut":
            if beginning := answer[: self._rng.randrange(len(answer))]:
                self._unanswered.pop(writer, None)
                writer.write(beginning)
                await writer.drain()
            self._break_off(writer)
            return False
        self._unanswered.pop(writer, None)
        if call.mode == "slow":
            step = max(1, len(answer) // (SLOW_PIECES_A_SECOND * self._rng.randint(1, 20)))
            while answer:
                writer.write(answer[:step])
                await writer.drain()
                del answer[:step]
                await asyncio.sleep(1 / SLOW_PIECES_A_SECOND)
        writer.write(answer)
        await writer.drain()
        return True

    def _break_off(self, writer: asyncio.StreamWriter) -> None:
        if (call := self._unanswered.get(writer)) is not None:
            call.repeatable = True
        _reset(writer)


@dataclass(kw_only=True)
class Weather:
    """Changes the modes of the proxies of faulty clients from time to time."""

    proxies: Mapping[str, Proxy]
    rng: random.Random
    faulty: frozenset[str] = field(default_factory=frozenset)
    spell: tuple[float, float] = (3.0, 15.0)
    clear: float = 0.15

    async def run(self) -> None:
        """Change modes until cancelled. Each mode of a client lasts for a while, and sometimes there is no fault."""
        async with asyncio.TaskGroup() as clients:
            for client_id in sorted(self.faulty):
                clients.create_task(self._change(self.proxies[client_id], random.Random(self.rng.random())))  # noqa: S311  (chance, not secrets)

    async def _change(self, proxy: Proxy, rng: random.Random) -> None:
        while True:
            await proxy.set_mode("pass" if rng.random() < self.clear else rng.choice(FAULTS))
            await asyncio.sleep(rng.uniform(*self.spell))


@asynccontextmanager
async def proxies(
    client_ids: Collection[str], upstream: tuple[str, int], seed: int
) -> AsyncIterator[tuple[Mapping[str, Proxy], list[Call]]]:
    """Run a proxy for each client, at first without faults, and record all calls."""
    record: list[Call] = []
    made = {name: Proxy(name, upstream, random.Random(f"{seed} {name}"), record) for name in client_ids}  # noqa: S311
    try:
        for proxy in made.values():
            await proxy.set_mode("pass")
        yield made, record
    finally:
        for proxy in made.values():
            await proxy.close()


def _bound(port: int) -> socket.socket:
    """Bind a socket to a port. Several sockets may be bound to it as long as only one listens."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, like a crash of its host."""
    peer: socket.socket | None = writer.get_extra_info("socket")
    if peer is not None:
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _answer(agent: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await agent.readuntil(b"\r\n\r\n")
    return head, await agent.readexactly(_length(head))


async def _unless_gone(
    answer: Awaitable[tuple[bytes, bytes]], reader: asyncio.StreamReader
) -> tuple[bytes, bytes] | None:
    """Wait for the answer. Returns None if the sender of the request closes its connection before."""
    waiting, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else None
    finally:
        for task in (waiting, leaving):
            task.cancel()
        await asyncio.gather(waiting, leaving, return_exceptions=True)


def _length(head: bytes) -> int:
    """Return the length of a body. The control plane and the agents always announce it, or send no body."""
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"transfer-encoding":
            raise AssertionError(f"a body of unknown length: {head!r}")
        if name == b"content-length":
            return int(value)
    return 0
