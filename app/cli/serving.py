"""The control plane as a process: its application under uvicorn, which gives its trainings away before it stops."""

import asyncio
import socket

import typer
import uvicorn

from app import interpreter
from app.inbound import Arrivals, Bounds, Connection
from app.inbound.bounds import places
from app.main import create_app
from app.services.keys import key_path
from app.services.starting import prepare_database
from app.services.system import System
from app.settings import Settings


def prepared(settings: Settings) -> uvicorn.Server:
    """A server that is about to run, in an interpreter that is tuned for it.

    Raises:
        WrongSetting: one names what is not there, or cannot be written to.
    """
    app = create_app(settings)
    asyncio.run(prepare_database(settings))
    key = app.state.system.admin_key
    if settings.auth.enabled and key.made:
        typer.echo(f"admin key (shown once, kept in {key_path(settings)}): {key.reveal()}", err=True)
    bounds = Bounds(places=places())
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Connection,
        ws="none",
        backlog=bounds.backlog,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, int(settings.coordinator.drain_seconds)),
    )
    interpreter.tune()
    return _DrainingServer(config, app.state.system, bounds)


class _DrainingServer(uvicorn.Server):
    """Gives its trainings away as soon as it is told to stop, before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, system: System, bounds: Bounds) -> None:
        super().__init__(config)
        self.server_state = Arrivals(bounds)
        self._system = system

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        sweeping = asyncio.create_task(interpreter.sweep())
        try:
            await super().serve(sockets)
        finally:
            sweeping.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._system.waits.stop()
        await self._system.coordinator.stop()
        await super().shutdown(sockets)
