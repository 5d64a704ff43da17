"""The way from this process to a server, which can fall silent: bytes vanish, and nobody hears of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from sqlalchemy.engine import make_url


class Link:
    """Forwards bytes from a port of its own to a server.

    What is connected when it falls silent never hears anything again; connections of later are as good as it is then.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._silent = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def fall_silent(self) -> None:
        self._silent.set()

    def recover(self) -> None:
        self._silent = asyncio.Event()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer, self._silent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event) -> None:
        if silent.is_set():
            with closing(writer.transport):
                await asyncio.Event().wait()
        far_reader, far_writer = await asyncio.open_connection(*self._upstream)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_forward(reader, far_writer, silent))
                ways.create_task(_forward(far_reader, writer, silent))
        except* ConnectionError:
            pass
        finally:
            writer.transport.abort()
            far_writer.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event) -> None:
    while data := await reader.read(1 << 16):
        if silent.is_set():
            await asyncio.Event().wait()
        writer.write(data)
        await writer.drain()
    if silent.is_set():
        await asyncio.Event().wait()
    raise ConnectionResetError


@asynccontextmanager
async def link(url: str) -> AsyncIterator[tuple[Link, str]]:
    """A link to the Postgres of a URL, and the URL that leads through it."""
    parts = make_url(url)
    made = Link(parts.host or "127.0.0.1", parts.port or 5432)
    await made.start()
    try:
        yield made, parts.set(host="127.0.0.1", port=made.port).render_as_string(hide_password=False)
    finally:
        await made.close()
