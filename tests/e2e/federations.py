"""A server with three devices that train, in processes and threads of their own, for tests of what talks to one."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from examples import minimal_trainer
from tcsfeel.agent import hosting
from tests.e2e.servers import Server

PATIENCE = 120.0  # seconds until the devices have to be registered


@contextlib.contextmanager
def federation(directory: Path, database_url: str) -> Iterator[Server]:
    """Run the server, with the devices edge-0, edge-1 and edge-2, inside the block."""
    server = Server(directory, database_url)
    ready, done = threading.Event(), threading.Event()

    async def live() -> None:
        await server.start()
        trainers = {f"edge-{seed}": minimal_trainer.trainer(seed=seed) for seed in range(3)}
        async with hosting(trainers, server_url=server.url, api_key=server.key):
            ready.set()
            await asyncio.to_thread(done.wait)
        server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield server
    finally:
        done.set()
        thread.join()
