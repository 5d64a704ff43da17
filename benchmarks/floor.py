"""Exchange the bytes of a round with as little work as Python allows: the floor that our rounds are compared with.

For each client, a plain protocol sends a task with the model, and receives a result of the same size into a mapped file
that is used again. It hashes the task and the result, and averages nothing. There are no tokens, checks, polls or
deletions, and nothing is remembered.

``CLIENTS SIZE PORT…`` makes a round for each line on stdin. A line on stdout is JSON: the seconds of the round, and how
many results came. The end of stdin ends the process.
"""

import asyncio
import hashlib
import json
import mmap
import sys
import tempfile
import time
from typing import BinaryIO

from app.demo.stage import HOST
from app.threads import in_thread
from benchmarks.plain_agents import answer_of

_WRITTEN_BYTES = 1 << 18
_HASHED_AT_ONCE = 1 << 16  # bytes that the event loop hashes
_PAGE = 1 << 12


class Caller(asyncio.BufferedProtocol):
    """Makes one exchange after the other. It receives into `file` from the second page on, and the head before it."""

    def __init__(self, size: int, file: BinaryIO) -> None:
        head = answer_of(size)
        self._expected = len(head)
        self._head_bytes = self._expected - size
        file.truncate(_PAGE + size)
        self._room = memoryview(mmap.mmap(file.fileno(), _PAGE + size))[_PAGE - self._head_bytes :]
        self._filled = 0
        self._done: asyncio.Future[None] | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def pause_writing(self) -> None:
        self._free.clear()

    def resume_writing(self) -> None:
        self._free.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._room[self._filled : self._filled + (1 << 20)]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == self._expected and self._done is not None:
            self._done.set_result(None)

    async def exchange(self, number: int, model: memoryview) -> None:
        """Send a task, and receive its result."""
        if self._transport is None:
            raise ConnectionError
        self._filled, self._done = 0, asyncio.get_running_loop().create_future()
        task = b'{"task":"%d"}' % number
        digest = await _hashed(task, model)
        length = len(task) + len(model)
        head = f"PUT /tasks/{number} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\nDigest: {digest}\r\n\r\n"
        self._transport.write(head.encode() + task)
        for start in range(0, len(model), _WRITTEN_BYTES):
            await self._free.wait()
            self._transport.write(model[start : start + _WRITTEN_BYTES])
        await self._done
        await _hashed(b"", self._room[self._head_bytes :])


async def _hashed(task: bytes, block: memoryview) -> str:
    small = len(block) <= _HASHED_AT_ONCE
    return _digest(task, block) if small else await in_thread("checks", _digest, task, block)


def _digest(task: bytes, block: memoryview) -> str:
    digest = hashlib.sha256(task)
    digest.update(block)
    return digest.hexdigest()


async def _rounds(clients: int, size: int, ports: list[int]) -> None:
    loop, model = asyncio.get_running_loop(), memoryview(bytes(size))
    callers: list[Caller] = []
    for number in range(clients):
        with tempfile.TemporaryFile() as file:
            _, caller = await loop.create_connection(lambda: Caller(size, file), HOST, ports[number % len(ports)])
        callers.append(caller)
    while await in_thread("messages", sys.stdin.readline):
        began = time.perf_counter()
        await asyncio.gather(*(caller.exchange(number, model) for number, caller in enumerate(callers)))
        print(json.dumps({"seconds": time.perf_counter() - began, "updates": len(callers)}), flush=True)


def main() -> None:
    clients, size, *ports = map(int, sys.argv[1:])
    asyncio.run(_rounds(clients, size, ports))


if __name__ == "__main__":
    main()
