"""Limit calls that need no key by the caller's address."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.errors import LimitReached
from app.http.problems import limited
from app.metrics import Metrics
from app.services.access.limits import Caller, CallerLimits


class AddressLimits:
    """Limits how often one address calls paths that need no key. `ApiRoute` limits the calls of ``/v1``."""

    def __init__(self, app: ASGIApp, limits: CallerLimits, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        try:
            with self._limits.admitted(Caller("address", address)):
                await self._app(scope, receive, send)
        except LimitReached as error:
            await limited(error, self._metrics)(scope, receive, send)
