"""Answer the methods of `TopologyService`: convert, call the REST API, convert back."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from app.metrics import Metrics
from app.rpc.arrivals import Arrivals, Context, address_of
from app.rpc.gateway import Gateway, Sender
from app.rpc.messages import SERVICE, message
from app.rpc.operations import OPERATIONS, SHORT, Operation, RestCall
from app.threads import in_thread
from tcsfeel.rest.problems import Refused, refusal

Trailers = tuple[tuple[str, str], ...]

CODES: Mapping[int, grpc.StatusCode] = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
"""The code for each status of the REST API; every other one is ``INTERNAL``."""
LONGEST_DETAIL = 1000  # characters; a longer message would not fit into the trailers of some clients

log = structlog.get_logger(__name__)


class Topology:
    """The handlers of the service, by the name of their method."""

    def __init__(self, gateway: Gateway, metrics: Metrics, arrivals: Arrivals) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._arrivals = arrivals

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers, to be added to a server."""
        return grpc.method_handlers_generic_handler(SERVICE, {one.name: self._handler(one) for one in OPERATIONS})

    def _handler(self, operation: Operation) -> "grpc.RpcMethodHandler[Any, Any]":
        return grpc.stream_unary_rpc_method_handler(
            self._answering(operation),
            response_serializer=message(f"{operation.name}Response").SerializeToString,
        )

    def _answering(self, operation: Operation) -> Callable[[AsyncIterator[bytes], Context], Awaitable[Message]]:
        async def answer(requests: AsyncIterator[bytes], context: Context) -> Message:
            code = grpc.StatusCode.CANCELLED  # unless the call ends in another way
            try:
                try:
                    response = await self._called(operation, requests, context)
                    code = grpc.StatusCode.OK
                except Refused as error:
                    code = CODES.get(error.status, grpc.StatusCode.INTERNAL)
                    trailers: Trailers = (("tcsfeel-problem", error.type),)
                    if error.retry_after is not None:
                        trailers = (*trailers, ("retry-after", f"{error.retry_after:g}"))
                    await _refuse(context, code, str(error), trailers)
                except TimeoutError:
                    code = grpc.StatusCode.DEADLINE_EXCEEDED
                    await _refuse(context, code, "the server did not answer in time: try again in a moment")
                except Exception:
                    code = grpc.StatusCode.INTERNAL
                    log.exception("a call over gRPC failed", method=operation.name)
                    await _refuse(context, code, "this is a fault of the server; its log has the details")
            finally:
                self._metrics.grpc_calls.labels(operation.name, code.name).inc()
            return response

        return answer

    async def _called(self, operation: Operation, requests: AsyncIterator[bytes], context: Context) -> Message:
        """Return the response. Raises `Refused`, `TimeoutError`."""
        content = await self._arrivals.message(requests, context, operation.most_bytes)
        if len(content) > SHORT:  # it takes long to convert, which is done only for those who may call
            await self._ask(RestCall("GET", "/v1/caller"), context)
        request, rest = await in_thread("messages", _converted, operation, content)
        return await in_thread("messages", _response, operation, request, await self._ask(rest, context))

    async def _ask(self, rest: RestCall, context: Context) -> bytes:
        """Return what the REST API answers. Raises `Refused`, `TimeoutError`."""
        answer = await self._gateway.call(rest.method, rest.path, rest.body, sender_of(context))
        context.set_trailing_metadata((("x-request-id", answer.headers.get("X-Request-ID", "")),))
        if not answer.is_success:
            raise refusal(answer.status_code, answer.headers, answer.content)
        return answer.content


def _converted(operation: Operation, content: bytes) -> tuple[Message, RestCall]:
    """Parse the message of a call, and make the call of the REST API from it. Raises `Refused`."""
    name = f"{operation.name}Request"
    try:
        request = message(name).FromString(content)
    except DecodeError:
        invalid = "urn:tcsfeel:problem:invalid"
        raise Refused(HTTPStatus.BAD_REQUEST, f"the message cannot be read as a {name}", type=invalid) from None
    return request, operation.call(request)


def _response(operation: Operation, request: Message, content: bytes) -> Message:
    return operation.respond(request, json.loads(content))


async def _refuse(context: Context, code: grpc.StatusCode, detail: str, trailers: Trailers = ()) -> None:
    """End the call with a code. It raises the exception by which gRPC ends a handler."""
    known = tuple(context.trailing_metadata() or ())
    await context.abort(code, detail[:LONGEST_DETAIL], (*known, *trailers))


def sender_of(context: Context) -> Sender:
    """Find out who sent a call."""
    found: dict[str, list[str]] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str) and value.isascii() and value.isprintable():  # otherwise it is no header of HTTP
            found.setdefault(key, []).append(value)
    authorization, request_id = (found.get(key, [None])[0] for key in ("authorization", "x-request-id"))
    return Sender(authorization, address_of(context), request_id, ", ".join(found.get("x-forwarded-for", ())) or None)
