"""Run agents that cost as little as possible: ``PORT SIZE [NICENESS]``. They answer each task with that many bytes."""

import asyncio
import base64
import hashlib
import mmap
import os
import sys

from app.demo.stage import HOST

_RECEIVED_BYTES = 1 << 20  # at a time
_EMPTY_HEADER = (2).to_bytes(8, "little") + b"{}"


class PlainAgent(asyncio.BufferedProtocol):
    """Takes one request after the other, and does not keep what it receives."""

    def __init__(self, answer: bytes, buffer: memoryview) -> None:
        self._answer = answer
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._left = 0  # bytes of the request's body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left:
            self._left -= nbytes
        else:
            self._head += bytes(self._buffer[:nbytes])
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            said = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._left = int(said or 0) - len(body)
            self._head = b""
        if not self._left and self._transport is not None:
            self._transport.write(self._answer)


def answer_of(size: int) -> bytes:
    """Return a response with a result of `size` bytes."""
    body = _EMPTY_HEADER + bytes(size - len(_EMPTY_HEADER))
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nContent-Digest: sha-256=:{digest}:\r\n\r\n"
    return head.encode() + body


async def serve(port: int, size: int) -> None:
    """Serve until the process ends."""
    answer, buffer = answer_of(size), memoryview(mmap.mmap(-1, _RECEIVED_BYTES))
    server = await asyncio.get_running_loop().create_server(lambda: PlainAgent(answer, buffer), HOST, port, backlog=256)
    async with server:
        await server.serve_forever()


def main() -> None:
    _, port, size, *niceness = sys.argv
    os.nice(sum(map(int, niceness)))
    asyncio.run(serve(int(port), int(size)))
