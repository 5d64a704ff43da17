"""Run the control plane under uvicorn, and give its trainings to other servers before it stops."""

import asyncio
import socket
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING

import click
import structlog
import uvicorn
from fastapi import FastAPI

from app import interpreter
from app.certificates import for_callers
from app.http.auditing import refused_connection
from app.http.connections import QuickConnection
from app.main import create_app
from app.rpc import CannotListen
from app.services.access.keys import key_path
from app.services.running.starting import prepare_database
from app.services.system import System
from app.settings import Settings, WrongSetting
from tcsfeel.inbound import Bounds
from tcsfeel.inbound.bounds import places
from tcsfeel.inbound.server import Server, listeners

if TYPE_CHECKING:
    from app.rpc.server import RpcServer

log = structlog.get_logger(__name__)


def prepared(settings: Settings) -> "ControlPlane":
    """Make a control plane that listens already and is ready to run, and tune the interpreter for it.

    Raises:
        WrongSetting: a setting names something that does not exist or cannot be written to.
        OSError: the host and port cannot be listened on.
    """
    app = create_app(settings)
    asyncio.run(prepare_database(settings))
    tls = for_callers(settings.tls)
    bounds = Bounds(places=places(), refusals_per_second=settings.refusals_per_second)
    config = _configuration(app, settings, bounds)
    rpc = _over_grpc(app, settings, config.forwarded_allow_ips)
    sockets = _listening(settings.host, settings.port)
    app.state.system.address_guard.listens_at(sockets)
    key = app.state.system.admin_key
    if settings.auth.enabled and key.made:
        click.echo(f"admin key (shown once, kept in {key_path(settings)}): {key.reveal()}", err=True)
    preparing = interpreter.tune(app.openapi)
    return ControlPlane(config, app.state.system, bounds, sockets, tls=tls, preparing=preparing, rpc=rpc)


def _configuration(app: FastAPI, settings: Settings, bounds: Bounds) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=QuickConnection,
        ws="none",
        backlog=bounds.backlog,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, int(settings.coordinator.drain_seconds)),
    )


def _over_grpc(app: FastAPI, settings: Settings, proxies: list[str] | str) -> "RpcServer | None":
    """Make the server for gRPC, if there is a port for it. Raises `WrongSetting` if its packages are missing."""
    if settings.grpc.port is None:
        return None
    try:
        from app.rpc.server import RpcServer  # noqa: PLC0415  (its packages are those of an extra, and large)
    except ImportError as error:
        raise WrongSetting(
            f"TCSFEEL_GRPC__PORT: needs packages that are not installed ({error}): install the extra with "
            "pip install 'tcsfeel-server[grpc]', or leave the port out"
        ) from None
    return RpcServer(app, settings, app.state.system.metrics, proxies)


def _listening(host: str, port: int) -> list[socket.socket]:
    try:
        return listeners(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot listen on {host} port {port}: {reason}. Choose another with --host or --port") from error


class ControlPlane(Server):
    """Serves until it is stopped. It then gives its trainings away at once, before it waits for open connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        system: System,
        bounds: Bounds,
        sockets: list[socket.socket],
        *,
        tls: ssl.SSLContext | None,
        preparing: threading.Thread,
        rpc: "RpcServer | None" = None,
    ) -> None:
        super().__init__(config, bounds, tls)
        self._preparing = preparing
        self._rpc = rpc
        self._sockets = sockets
        self._system = system
        self.arrivals.refusals.note = system.metrics.delayed_refusals.inc
        self.arrivals.note_refused = partial(refused_connection, system.audit)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            address, port, *_ = listener.getsockname()
            log.info("listening", address=address, port=port, tls=self.tls is not None)
        if self._rpc is not None and not self.should_exit:
            await self._rpc.start()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        if self._rpc is not None:
            try:
                await self._rpc.listen()
            except CannotListen:
                for listener in self._sockets:
                    listener.close()
                raise
        sweeping = asyncio.create_task(interpreter.sweep(self._preparing))
        try:
            await super().serve(self._sockets if sockets is None else sockets)
        finally:
            sweeping.cancel()
            if self._rpc is not None:
                await self._rpc.stop(0.0)  # which has stopped already, unless the application did not start

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        grace = self._system.settings.coordinator.drain_seconds
        stopping = asyncio.create_task(self._rpc.stop(grace)) if self._rpc is not None else None
        self._system.waits.stop()
        self._system.task_watch.stop()
        self._system.feed.stop()
        await self._system.coordinator.stop()
        if stopping is not None:
            await stopping
        await super().shutdown(sockets)
