"""The routes of ``/v1``: each checks the caller, and limits the body, before its handler runs."""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, get_args

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.http.auditing import Attempt
from app.http.bodies import LEAST_RATE, PAUSE_SECONDS, announced, bounded, refuse_crowd, refuse_encoding
from app.http.deps import address_of, authenticate, invited, party_of, wired
from app.http.descriptions import responses
from app.http.roles import Mark
from app.http.unparsable import unparsable
from app.memory import STREAMED_BYTES, UPLOADS, NoMemoryFree, TooManyUploads
from app.origins import acting
from app.services.access.limits import Caller
from tcsfeel.contract.fields import RequestModel
from tcsfeel.inbound import Pace

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Shortcut = Callable[[Request], Awaitable[Response | None]]

_SHORTCUTS: dict[Callable[..., Any], Shortcut] = {}
STREAMED = {"x-tcsfeel-body": "streamed"}
"""Put into a route's `openapi_extra` if the handler itself reads the body and limits its size."""
CODINGS = "x-tcsfeel-codings"
"""Lists, in a route's `openapi_extra`, the content codings of bodies that its handler accepts besides `identity`."""


def shortcut(usual: Shortcut) -> Callable[[Endpoint], Endpoint]:
    """Let `usual` answer the calls of a route that are as most of them are, after all checks of `ApiRoute`.

    It gets the request, whose body has been read. If it returns None, it has done nothing, and the call goes to the
    handler. So the handler alone says what is wrong with a call. To find a handler's arguments takes a third of the
    time of a short call.
    """

    def known(endpoint: Endpoint) -> Endpoint:
        _SHORTCUTS[endpoint] = usual
        return endpoint

    return known


class ApiRoute(APIRoute):
    """A route of ``/v1``. It checks the key and its role before it reads a body.

    The route's mark says which role it needs (`app.http.roles`). Parameters that the route does not know are refused.
    The model of a body limits its size. A route without a model accepts a small body. A route that describes its body
    in `openapi_extra` accepts one of the configured size, and its handler sets a lower limit.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        of_its_own = options.pop("responses", None) or {}
        super().__init__(path, endpoint, responses=responses(401, 403, 422, 429, 503) | of_its_own, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = _shortened(super().get_route_handler(), _SHORTCUTS.get(self.endpoint))
        known = {parameter.alias for parameter in self.dependant.query_params}
        model = _model(self.dependant.body_params[0].field_info.annotation) if self.dependant.body_params else None
        extra = self.openapi_extra or {}
        mark = Mark.of(extra, f"{sorted(self.methods or ())} {self.path}")

        async def guarded(request: Request) -> Response:
            attempt = Attempt.of(request)
            attempt.name(f"{request.method} {self.path_format}", request)
            if mark.role is None:
                with wired(request).limits.admitted(Caller("address", address_of(request))):
                    attempt.caller = await invited(request) if mark.invitation else None
                    with acting(None if attempt.caller is None else attempt.caller.name):
                        attempt.admit()
                        return await admitted(request)
            by = await authenticate(request)
            attempt.caller = by
            mark.check(by, request.path_params)
            caller = Caller("agent" if by.role == "agent" else "key", by.key_id or by.name)
            with acting(by.name), wired(request).limits.admitted(caller):
                attempt.admit()
                return await admitted(request)

        async def admitted(request: Request) -> Response:
            _refuse_unknown(request, known)
            found = wired(request)
            if model is not None or "requestBody" in extra:
                refuse_encoding(request, extra.get(CODINGS, ()))
            if extra.items() >= STREAMED.items():
                with _upload(request):
                    return await handle(request)
            most = found.settings.max_body_bytes
            limit = most if "requestBody" in extra else min(most, (model or RequestModel).max_bytes)
            request.state.most_bytes = most  # for handlers that read the body themselves
            length = announced(request)
            most_held = limit if length is None else min(length, limit)
            with found.body_memory.holding(party_of(request), most_held) as held:
                if length is not None and length <= limit:  # a longer one is refused for that, as soon as it is read
                    held.announce(length)
                request = bounded(request, limit, held, Pace(PAUSE_SECONDS, LEAST_RATE))
                if model is None:
                    return await handle(request)
                body = await request.body()
                refuse_crowd(body, model.max_items)
                try:
                    return await handle(request)
                except HTTPException as error:
                    raise unparsable(body, error.__cause__) or error from error

        return guarded


@contextmanager
def _upload(request: Request) -> Iterator[None]:
    """Hold a place for a body that is streamed to a file. Raises `TooManyUploads`."""
    with wired(request).upload_memory.holding(party_of(request), STREAMED_BYTES) as held:
        try:
            held.grow(min(STREAMED_BYTES, announced(request) or STREAMED_BYTES))
        except NoMemoryFree:
            raise TooManyUploads(UPLOADS) from None
        yield


def _refuse_unknown(request: Request, known: Collection[str]) -> None:
    """Refuse parameters of the query that the route does not know. Most calls have no query."""
    unknown = [name for name in request.query_params if name not in known] if request.scope["query_string"] else []
    if unknown:
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("query", name), "msg": ""} for name in unknown]
        )


def _shortened(handle: Handler, usual: Shortcut | None) -> Handler:
    """Return the handler of a route with the shortcut before it, if it has one."""
    if usual is None:
        return handle

    async def shortened(request: Request) -> Response:
        answer = await usual(request)
        return await handle(request) if answer is None else answer

    return shortened


def _model(annotation: Any) -> type[RequestModel]:
    """Find the model in the annotation of a body, which may be optional."""
    candidates = (annotation, *get_args(annotation))
    return next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, RequestModel))
