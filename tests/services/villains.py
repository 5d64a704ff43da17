"""Agents that answer what no agent should, from threads of their own, and a watch over the event loop."""

import asyncio
import contextlib
import gc
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from app.domain.clients import Endpoint
from tests.services.fakes import HERE, endpoint

MOST = 1 << 26  # bytes that an endless answer has in the end, where nothing cuts it off
JOIN_SECONDS = 30.0  # for all threads together, each of which waits 20 s at most


@dataclass
class Villain:
    """What it listens on, how much of its answers it has got rid of, and how often it was called."""

    port: int
    sent: int = 0
    calls: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def endpoint(self) -> Endpoint:
        return endpoint(f"http://{HERE}:{self.port}", auth_token="s3cret-token")


@contextmanager
def answering(start: bytes, again: bytes = b"", *, drip: float | None = None, reads: bool = True) -> Iterator[Villain]:
    """An agent that answers `start`, and then `again` and again until it is cut off.

    It waits `drip` seconds before each `again`. Without `reads` it takes nothing in and says nothing.
    """
    listener = socket.create_server((HERE, 0), backlog=512)
    villain = Villain(listener.getsockname()[1])
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if not reads:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
                over.wait()
                return
            _read_request(connection)
            connection.sendall(start)
            villain.sent += len(start)
            block = again * (1 if drip else max(1, (1 << 16) // max(1, len(again))))
            while (again or drip) and villain.sent < MOST and not over.wait(drip or 0):
                connection.sendall(block)
                villain.sent += len(block)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                villain.calls += 1
                connection.settimeout(20)
                villain.threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                villain.threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield villain
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        end = time.monotonic() + JOIN_SECONDS
        accepting.join(JOIN_SECONDS)  # it may be about to start one more
        for thread in villain.threads:
            thread.join(max(0.0, end - time.monotonic()))
    assert not [thread for thread in villain.threads if thread.is_alive()]


def _read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(lengths[0].split(b":")[1]) - len(body) if lengths else 0
    while left > 0:
        left -= len(_received(connection))


def _received(connection: socket.socket) -> bytes:
    """Give what has come; raises `ConnectionError` where the caller has hung up, or a thread would read for ever."""
    if not (data := connection.recv(1 << 16)):
        raise ConnectionResetError
    return data


@dataclass
class Watch:
    """The longest that the event loop was held, in seconds of the processor: other processes do not count."""

    longest: float = 0.0


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    watch = Watch()
    gc.disable()  # a process full of tests takes long to look at, which is no fault of what is measured

    async def look() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            watch.longest = max(watch.longest, time.thread_time() - began)

    looking = asyncio.create_task(look())
    try:
        yield watch
    finally:
        gc.enable()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
