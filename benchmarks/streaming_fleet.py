"""Run agents that generate their answers while they send them, so that many large models need no memory.

``PORT TOKEN FLOATS`` serves every client below ``/{number}`` by the agent protocol, with the same token. The update of
a client repeats a pattern of `PATTERN` float32, which is drawn with its number as seed.
"""

import asyncio
import hmac
import sys
from collections.abc import AsyncIterator
from http import HTTPStatus

import numpy as np
import numpy.typing as npt
from starlette.types import Receive, Scope, Send

from tcsfeel.agent.listening import listening
from tcsfeel.agent.running import run
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.headers import TensorSpec, header
from tcsfeel.wire.tasks import TaskResult, result_metadata

HOST = "127.0.0.1"
NAME = "weights"
PATTERN = 1 << 18  # values: 1 MiB
EXAMPLES = 100
PIECE = 1 << 18  # bytes that are sent at one time


def pattern(number: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(number).standard_normal(PATTERN, np.float32)


class StreamingFleet:
    """The agents as an ASGI application."""

    def __init__(self, token: str, floats: int) -> None:
        self._credentials = f"Bearer {token}".encode()
        self._layout = {NAME: TensorSpec("F32", (floats,), 0, 4 * floats)}
        self._given: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number, *path = scope["path"].strip("/").split("/")
        if not hmac.compare_digest(dict(scope["headers"]).get(b"authorization", b""), self._credentials):
            await _answer(send, HTTPStatus.UNAUTHORIZED)
            return
        match scope["method"], path:
            case "GET", ["healthz"]:
                await _answer(send, HTTPStatus.OK)
            case "GET", ["model"]:
                await self._stream(send, number, {})
            case "PUT", ["tasks", task]:
                await _drain(receive)
                self._given.add(task)
                await _answer(send, HTTPStatus.ACCEPTED)
            case "GET", ["tasks", task] if task in self._given:
                result = TaskResult(num_examples=EXAMPLES, loss=0.5, accuracy=0.5)
                await self._stream(send, number, result_metadata(result))
            case "DELETE", ["tasks", task]:
                self._given.discard(task)
                await _answer(send, HTTPStatus.NO_CONTENT)
            case _:
                await _answer(send, HTTPStatus.NOT_FOUND)

    async def _stream(self, send: Send, number: str, metadata: dict[str, str]) -> None:
        size = self._layout[NAME].stop
        front = header(self._layout, metadata)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % (len(front) + size))]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
        await send({"type": "http.response.body", "body": front, "more_body": True})
        async for piece in _block(int(number), size):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _block(number: int, size: int) -> AsyncIterator[bytes]:
    once = pattern(number).tobytes()
    for start in range(0, size, PIECE):
        begin = start % len(once)
        yield once[begin : begin + min(PIECE, size - start)]
        await asyncio.sleep(0)


async def _drain(receive: Receive) -> None:
    more = True
    while more:
        more = (await receive()).get("more_body", False)


async def _answer(send: Send, status: HTTPStatus) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _serve(port: int, app: StreamingFleet) -> None:
    async with listening(app, HOST, port):
        await asyncio.Event().wait()


def main() -> None:
    _, port, token, floats = sys.argv
    run(_serve(int(port), StreamingFleet(token, int(floats))))
