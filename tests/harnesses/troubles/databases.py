"""Make the connection to Postgres slow, or silent without closing it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.harnesses.troubles.stage import AT_MOST, fleet, stage

SLOW_SECONDS = 0.02  # for each piece, in each direction
SILENT_SECONDS = 20.0
PIECE = 1 << 16


class Pipe:
    """A TCP proxy that can delay the bytes that it passes on, or hold all of them back."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0

    @asynccontextmanager
    async def running(self, host: str, port: int) -> AsyncIterator[None]:
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.open.wait()
            to_reader, to_writer = await asyncio.open_connection(host, port)
            for source, sink in ((reader, to_writer), (to_reader, writer)):
                task = asyncio.create_task(self._copy(source, sink))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            try:
                while piece := await source.read(PIECE):
                    await self.open.wait()
                    await asyncio.sleep(self.delay)
                    sink.write(piece)
                    await sink.drain()
            finally:
                sink.close()


@asynccontextmanager
async def _piped(url: str) -> AsyncIterator[tuple[Pipe, str]]:
    """Make a pipe to a database, and the database's URL through it."""
    address, pipe = make_url(url), Pipe()
    async with pipe.running(address.host or "127.0.0.1", address.port or 5432):
        through = address.set(host="127.0.0.1", port=pipe.port)
        yield pipe, through.render_as_string(hide_password=False)


async def slow(directory: Path, url: str) -> Mapping[str, float]:
    """Make each statement 40 ms slower."""
    async with _piped(url) as (pipe, through), stage(directory, through) as at, fleet(at.server):
        path = await at.train()
        pipe.delay = SLOW_SECONDS
        await at.goes_on(path, "goes on slowly", rounds=1)
        return at.took


async def silent(directory: Path, url: str) -> Mapping[str, float]:
    """Let the database stop answering without closing its connections, and come back after some time."""
    async with _piped(url) as (pipe, through), stage(directory, through) as at, fleet(at.server):
        path = await at.train()
        pipe.open.clear()
        await at.tells("says that the database is silent", path, "does not answer")
        await asyncio.sleep(SILENT_SECONDS - AT_MOST)
        pipe.open.set()
        await at.goes_on(path, "goes on when it is back")
        return at.took
