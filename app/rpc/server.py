"""Serve gRPC: the port, its certificate, health, reflection, and the limits of connections and messages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection
from starlette.types import ASGIApp

from app.metrics import Metrics
from app.rpc import CannotListen
from app.rpc.arrivals import Arrivals
from app.rpc.gateway import Gateway, Sender
from app.rpc.messages import SERVICE
from app.rpc.operations import MOST_BYTES
from app.rpc.service import CODES, Topology
from app.settings import Settings
from app.threads import in_thread
from tcsfeel.rest.problems import Refused

MOST_CALLS = 256  # at the same time, of all callers
MOST_CONNECTIONS = 256
MOST_PROBE_BYTES = 1000
MOST_REFLECTIONS = 16
REFLECTION_SECONDS = 60.0
HEALTH_SECONDS = 5.0  # from one look at readiness to the next

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # a second server at the same port is a mistake
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_metadata_size", 16_384),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_allowed_incoming_connections", MOST_CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.max_connection_age_ms", 600_000),  # callers connect again; one that does not read is cut off
    ("grpc.max_connection_age_grace_ms", 150_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

log = structlog.get_logger(__name__)


class RpcServer:
    """Serves the methods over the application `app`, which has to run meanwhile.

    The addresses in `proxies` may say for whom they call.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: Metrics, proxies: list[str] | str = "127.0.0.1"
    ) -> None:
        self._gateway = Gateway(app, proxies)
        self._settings = settings
        arrivals = Arrivals()
        self._service = Topology(self._gateway, metrics, arrivals)
        self._health = _Health(arrivals)
        self._server: grpc.aio.Server | None = None
        self._watching: asyncio.Task[None] | None = None
        self.port = 0

    async def listen(self) -> None:
        """Take the port. Raises `CannotListen`."""
        server = grpc.aio.server(
            interceptors=(_FewStreams(),), options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS + MOST_REFLECTIONS
        )
        server.add_generic_rpc_handlers((self._service.handlers(), self._health.handlers()))
        if self._settings.grpc.reflection and not self._settings.docs.need_key:
            names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        host, port = self._settings.host, self._settings.grpc.port or 0
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        tls = self._settings.tls
        try:
            if tls.cert_file is None or tls.key_file is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(
                    address, await in_thread("files", _certificate, tls.cert_file, tls.key_file)
                )
        except RuntimeError:
            raise CannotListen.at(host, port) from None
        self._server = server

    async def start(self) -> None:
        """Begin to answer, after `listen`."""
        assert self._server is not None  # noqa: S101  (the caller has to listen first)
        await self._look()
        await self._server.start()
        self._watching = asyncio.create_task(self._watch())
        tls = self._settings.tls.cert_file is not None
        log.info("listening for gRPC", address=self._settings.host, port=self.port, tls=tls)

    async def stop(self, grace: float) -> None:
        """Take no further calls, and give those that are open `grace` seconds to end."""
        if self._watching is not None:
            self._watching.cancel()
        if self._server is not None:
            self._health.status = health_pb2.HealthCheckResponse.NOT_SERVING
            server, self._server = self._server, None
            await server.stop(grace)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            await self._look()

    async def _look(self) -> None:
        """Take over whether the server is ready."""
        try:
            ready = (await self._gateway.call("GET", "/readyz", None, Sender(None, "127.0.0.1"))).is_success
        except Exception:
            log.exception("readiness could not be found out for gRPC")
            ready = False
        answer = health_pb2.HealthCheckResponse
        self._health.status = answer.SERVING if ready else answer.NOT_SERVING


class _Health:
    """Answers probes. It cannot be watched, since anybody could then hold the places of calls for ever."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._arrivals = arrivals

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers, to be added to a server."""
        check: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(
            self._check,
            response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": check})

    async def _check(self, requests: AsyncIterator[bytes], context: Any) -> Any:
        try:
            content = await self._arrivals.message(requests, context, MOST_PROBE_BYTES)
            request = health_pb2.HealthCheckRequest.FromString(content)
        except Refused as error:
            await context.abort(CODES[error.status], str(error))
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is not a HealthCheckRequest")
        if request.service not in {"", SERVICE}:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service of this name: ask for {SERVICE}")
        return health_pb2.HealthCheckResponse(status=self.status)


class _FewStreams(grpc.aio.ServerInterceptor):
    """Bounds how many streams are open and how long: only reflection, which needs no key, answers with one."""

    def __init__(self) -> None:
        self._open = 0

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler.stream_stream is None:
            return handler
        stream = handler.stream_stream

        async def bounded(requests: Any, context: Any) -> AsyncIterator[Any]:
            if self._open >= MOST_REFLECTIONS:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams are open: try again later")
            self._open += 1
            try:
                async with asyncio.timeout(REFLECTION_SECONDS):
                    async for answer in stream(requests, context):
                        yield answer
            except TimeoutError:
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "a stream may last a minute")
            finally:
                self._open -= 1

        return grpc.stream_stream_rpc_method_handler(
            bounded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _certificate(cert_file: Path, key_file: Path) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(key_file.read_bytes(), cert_file.read_bytes())])
