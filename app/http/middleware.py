"""Give every HTTP request an id, which its log lines and its response show, security headers, and an audit record."""

import logging
import random
import re
import time
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.auditing import OPEN, Attempt
from app.http.prefix import located
from app.http.problems import unforeseen
from app.http.security_headers import secured
from app.origins import acting
from app.services.access.audit import AuditTrail
from app.turns import CallTurns
from tcsfeel.inbound import is_known

log = structlog.get_logger(__name__)
telling = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BEARER = re.compile(rb"[Bb]earer ([!-~]{1,256})")
"""Keys are shorter. A longer text is a token of an issuer, or no key."""


# The method is a label of the HTTP metrics, and a caller can invent methods.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
OTHER = "OTHER"


def _new_id() -> str:
    """Make an id that tells requests apart. It is no secret, so it needs no random bytes of the kernel."""
    return f"{random.getrandbits(64):016x}"


class RequestContext:
    """Binds a request id (the sender's ``X-Request-ID`` if it is well-formed) and logs the outcome."""

    def __init__(
        self,
        app: ASGIApp,
        trail: AuditTrail | None = None,
        path_prefix: str = "",
        remembers: Callable[[str], bool] = lambda _key: False,
    ) -> None:
        self._app = app
        self._remembers = remembers
        self._path_prefix = path_prefix
        self._trail = trail
        self._turns = CallTurns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else _new_id()
        started, status, location = time.perf_counter(), 0, ""
        if scope["method"] not in METHODS:
            scope = {**scope, "method": OTHER}
        if scope["method"] == "HEAD" and scope["path"] in OPEN:
            scope = {**scope, "method": "GET"}  # the connection, which knows the real one, sends no body
        attempt = Attempt.at(scope, self._trail)
        known = is_known(scope) or self._shows_known_key(scope)
        await self._turns.take(scope["client"][0] if scope.get("client") else "", known=known)

        async def note(message: Message) -> None:
            nonlocal status, location
            if message["type"] == "http.response.start":
                status = message["status"]
                given = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                location = next((value for name, value in given if name == b"location"), b"").decode("latin-1")
                if location and self._path_prefix:
                    given = located(given, self._path_prefix)
                message = {**message, "headers": secured(given, over_tls=scope.get("scheme") == "https")}
            await send(message)

        with structlog.contextvars.bound_contextvars(request=request_id), acting(request_id=request_id):
            try:
                await self._app(scope, receive, note)
            except Exception as error:
                response = unforeseen(error)
                if status:  # it is too late for another response
                    raise
                await response(scope, receive, note)
            finally:
                attempt.end(status, request_id, location)
            if telling.isEnabledFor(logging.DEBUG):  # a line that nobody reads would still be prepared
                milliseconds = round((time.perf_counter() - started) * 1000, 1)
                log.debug("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)

    def _shows_known_key(self, scope: Scope) -> bool:
        """Tell whether a request has a key that was shown lately, over whichever connection."""
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        shown = _BEARER.fullmatch(given)
        return shown is not None and self._remembers(shown[1].decode("ascii"))
