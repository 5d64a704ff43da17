"""Read calls of the control plane to hostile agents from raw connections, so that answers can be any bytes."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tcsfeel.wire.codec import decode, encode
from tests.harnesses.hostile.signing import signature

Tensors = dict[str, npt.NDArray[Any]]
Moment = Literal["fit", "evaluate", "model", "healthz"]

HEAD_BYTES = 1 << 16
PIECE = 1 << 16


@dataclass(slots=True)
class Exchange:
    """A request that was read completely, with the connection for its answer.

    Attributes:
        moment: the purpose of the call; None for polls of unknown tasks and for DELETE.
        method: the method of the request.
        target: its path and query below the agent's name.
        headers: its headers, by their names in lower case.
        body: the body of the request.
    """

    moment: Moment | None
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Send raw bytes."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self, status: str, body: bytes = b"", *headers: str) -> None:
        """Send a well-formed answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        await self.send("\r\n".join(lines).encode("latin-1"), body)

    async def answer_signed(self, body: bytes) -> None:
        """Send a 200 with the signature of the device that was called, if it has a key."""
        headers = signature(self.headers, body)
        await self.answer("200 OK", body, *(f"{name}: {value}" for name, value in headers.items()))

    def parameters(self) -> Tensors:
        """Return the tensors of the task."""
        return decode(self.body)[0]

    def honest(self) -> bytes:
        """Make a correct result with the parameters of the task."""
        return self.result(self.parameters())

    def result(self, parameters: Tensors, **said: object) -> bytes:
        """Make a result with these tensors and fields. Fields that are not given have honest values."""
        facts = {"num_examples": 10, "loss": 0.5, "accuracy": 0.5, "train_seconds": 0.01} | said
        tensors: Tensors = {} if self.moment == "evaluate" else parameters
        return encode(tensors, {"result": json.dumps(facts)})


Conduct = Callable[[Exchange], Awaitable[None]]


async def honest(exchange: Exchange) -> None:
    """Answer as the protocol says."""
    match exchange.moment:
        case "fit" | "evaluate":
            await exchange.answer_signed(exchange.honest())
        case "model":
            await exchange.answer_signed(encode({"w": np.zeros(1000, np.float32)}))
        case "healthz":
            await exchange.answer_signed(b"{}")
        case None:
            await exchange.answer("204 No Content" if exchange.method == "DELETE" else "404 Not Found")


@dataclass(frozen=True, slots=True)
class Hostile:
    """An agent that is hostile at one moment and honest otherwise."""

    name: str
    moment: Moment
    conduct: Conduct


async def serve(agents: dict[str, Hostile]) -> asyncio.Server:
    """Serve agents by the first part of the path, on any free port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            try:
                while (exchange := await _read(reader, writer)) is not None:
                    name, found = exchange
                    hostile = agents.get(name)
                    attack = hostile is not None and hostile.moment == found.moment
                    await (hostile.conduct if hostile is not None and attack else honest)(found)
                    if attack:  # the connection is in an unknown state after a wrong answer
                        return
            finally:
                writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0, limit=HEAD_BYTES, backlog=512)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, Exchange] | None:
    """Read the agent's name and the call. Returns None if the caller has closed the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    name, _, path = target.lstrip("/").partition("/")
    return name, Exchange(_moment(method, path, body), method, path, headers, body, writer)


def _moment(method: str, path: str, body: bytes) -> Moment | None:
    if path.endswith("healthz"):
        return "healthz"
    if path == "model":
        return "model"
    if method == "PUT":
        return "evaluate" if path.endswith(".evaluate") and body else "fit"
    return None
