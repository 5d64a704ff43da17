"""Follow events over a stream of Server-Sent Events, and as the receiver of a webhook. Both note the ids that come."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from standardwebhooks import Webhook as Signature
from standardwebhooks import WebhookVerificationError

AGAIN_SECONDS = 0.05
LONGEST_LINE = 1 << 20  # bytes


@dataclass
class Reader:
    """Follows the stream of one of several servers. When a connection ends, it goes on at the next server.

    `ids` are those of the events that came, in their order. An event whose end has not come does not count, and is sent
    again. `refused` are the statuses of answers that were no stream.
    """

    ports: Sequence[int]
    key: str
    turn: int = 0
    ids: list[int] = field(default_factory=list)
    connections: int = 0
    connected_to: int | None = None
    refused: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            port = self.ports[self.turn % len(self.ports)]
            try:
                await self._follow(port)
            except (OSError, EOFError, ValueError):
                pass
            finally:
                self.connected_to = None
            self.turn += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def _follow(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LONGEST_LINE)
        try:
            last = self.ids[-1] if self.ids else 0
            head = f"GET /v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.key}\r\n"
            writer.write(f"{head}Last-Event-ID: {last}\r\n\r\n".encode())
            status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
            if status != b"200":
                self.refused[status.decode()] += 1
                return
            self.connections += 1
            self.connected_to = port
            rest = b""
            while size := int(await reader.readline(), 16):
                *events, rest = (rest + (await reader.readexactly(size + 2))[:-2]).split(b"\n\n")
                self.ids += [number for event in events if (number := _id_of(event)) is not None]
        finally:
            writer.close()


def _id_of(event: bytes) -> int | None:
    """Return the id of an event; None of a comment, and of the last words of a server."""
    found = [line for line in event.split(b"\n") if line.startswith(b"id: ")]
    return int(found[0][4:]) if found else None


@dataclass
class Receiver:
    """Takes what a webhook sends, and counts how often each event came. `wrong` is what must not come."""

    secret: str = ""
    came: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _serving: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [task for task in self._serving.values() if task is not None]
        for writer in list(self._serving):
            writer.close()
        await asyncio.gather(*tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving[writer] = asyncio.current_task()
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
                lines = [line.split(": ", 1) for line in head.splitlines()[1:] if line]
                headers = {name.lower(): value for name, value in lines}
                self._take(headers, await reader.readexactly(int(headers["content-length"])))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (OSError, EOFError):  # the server has hung up, or was killed
            pass
        finally:
            writer.close()
            del self._serving[writer]

    def _take(self, headers: Mapping[str, str], body: bytes) -> None:
        number = int(json.loads(body)["data"]["id"])
        try:
            Signature(self.secret).verify(body, dict(headers))
        except WebhookVerificationError as error:
            self.wrong.append(f"event {number} is not signed by its webhook: {error}")
        if headers["webhook-id"].rpartition("_")[2] != str(number):
            self.wrong.append(f"event {number} came with the id {headers['webhook-id']}")
        self.came[number] += 1
