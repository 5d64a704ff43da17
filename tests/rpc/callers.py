"""A server for gRPC over the application of a test, and calls of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message

from app.rpc.messages import SERVICE, message
from app.rpc.server import RpcServer
from tests.api import KEY, Api

BEARER = (("authorization", f"Bearer {KEY}"),)
SECONDS = 60.0  # for machines that are busy with something else


@asynccontextmanager
async def serving(api: Api, proxies: str = "127.0.0.1") -> AsyncIterator[grpc.aio.Channel]:
    """Serve gRPC over the application of `api`, on a port of its own."""
    settings = api.system.settings.model_copy(update={"grpc": api.system.settings.grpc.model_copy(update={"port": 0})})
    server = RpcServer(api.app, settings, api.system.metrics, proxies)
    await server.listen()
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield channel
    finally:
        await server.stop(1.0)


async def call(
    channel: grpc.aio.Channel,
    method: str,
    *,
    metadata: tuple[tuple[str, str], ...] = BEARER,
    timeout: float = SECONDS,  # noqa: ASYNC109  (gRPC's deadline, which the server learns)
    **fields: Any,
) -> Any:
    """Call a method with the fields of its request, and return its response."""
    stub: grpc.aio.UnaryUnaryMultiCallable[Message, Any] = channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=message(f"{method}Response").FromString,
    )
    request: Message = message(f"{method}Request")(**fields)
    return await stub(request, metadata=metadata, timeout=timeout)


async def refused(
    channel: grpc.aio.Channel, method: str, **options: Any
) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Return the code, the message and the trailers with which a call is refused."""
    try:
        await call(channel, method, **options)
    except grpc.aio.AioRpcError as error:
        trailers = {key: str(value) for key, value in error.trailing_metadata()}
        return error.code(), error.details() or "", trailers
    raise AssertionError(f"{method} was not refused")
