"""Run agents that serve the whole agent protocol and cost as little as possible: ``PORT TOKEN FLOATS``.

They serve every client below ``/{number}`` with the same token. An update is made once, when the process starts, so
that the figures of small rounds are the server's. For large models, use `benchmarks.streaming_fleet`.
"""

import asyncio
import sys

import numpy as np

from app.demo.stage import HOST
from tcsfeel.wire.codec import pieces
from tcsfeel.wire.tasks import TaskResult, result_metadata

EXAMPLES = 100
NAME = "weights"
UPDATES = 16  # different ones, which the clients share
_END = b"\r\n\r\n"


def body_of(number: int, floats: int) -> bytes:
    """Return the result of a client."""
    weights = np.random.default_rng(number).standard_normal(floats, np.float32)
    result = TaskResult(num_examples=EXAMPLES, loss=0.5, accuracy=0.5)
    return b"".join(map(bytes, pieces({NAME: weights}, result_metadata(result))))


def response(status: str, body: bytes = b"") -> bytes:
    """Return a response with a body."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


class Answers:
    """The answers of all agents: made once, and shared by all connections."""

    def __init__(self, token: str, floats: int) -> None:
        self._credentials = f"authorization: bearer {token}\r\n".lower().encode()
        self._results = [response("200 OK", body_of(number, floats)) for number in range(UPDATES)]

    def to(self, head: bytes) -> bytes:
        """Return the answer to a request with this head."""
        method, target = head.split(b" ", 2)[:2]
        _, number, *path = target.partition(b"?")[0].split(b"/")
        if self._credentials not in head.lower():
            return response("401 Unauthorized")
        match method, path:
            case b"GET", [b"healthz"]:
                return response("200 OK")
            case b"PUT", [b"tasks", _]:
                return response("202 Accepted")
            case b"GET", [b"tasks", _] | [b"model"]:
                return self._results[int(number) % UPDATES]
            case b"DELETE", [b"tasks", _]:
                return b"HTTP/1.1 204 No Content\r\n\r\n"
            case _:
                return response("404 Not Found")


class QuickAgent(asyncio.Protocol):
    """A connection on which a request comes after the answer to the one before. Bodies are not kept."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._answer = b""
        self._left = 0  # bytes of the request's body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            head, found, body = self._head.partition(_END)
            if not found:
                return
            said = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._head, self._left = b"", int(said or 0) - len(body)
            self._answer = self._answers.to(head + b"\r\n")
        if not self._left and self._transport is not None:
            self._transport.write(self._answer)


async def serve(port: int, token: str, floats: int) -> None:
    """Serve until the process ends."""
    answers = Answers(token, floats)
    server = await asyncio.get_running_loop().create_server(lambda: QuickAgent(answers), HOST, port, backlog=256)
    async with server:
        await server.serve_forever()


def main() -> None:
    _, port, token, floats = sys.argv
    asyncio.run(serve(int(port), token, int(floats)))
