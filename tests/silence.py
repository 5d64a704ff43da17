"""A database server that takes connections in and never says a word."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Silence:
    """Where it listens, and how many have tried."""

    port: int = 0
    callers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://somebody@127.0.0.1:{self.port}/something"


@asynccontextmanager
async def silence() -> AsyncIterator[Silence]:
    value = Silence()

    async def take_in(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        value.callers.append(writer)

    server = await asyncio.start_server(take_in, "127.0.0.1", 0)
    value.port = server.sockets[0].getsockname()[1]
    async with server:
        yield value
        for writer in value.callers:
            writer.transport.abort()
