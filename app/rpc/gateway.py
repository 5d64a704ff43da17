"""Call the REST API inside this process, for a caller that came by another protocol."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx2
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

MOST_SECONDS = 120.0  # for one call; the server's own limits are shorter
_BASE = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a call: the text in its ``authorization``, its address, and the id that it gave the call, if any.

    `forwarded` has the addresses for which `address` says that it calls, as in ``X-Forwarded-For``.
    """

    authorization: str | None
    address: str
    request_id: str | None = None
    forwarded: str | None = None


class Gateway:
    """Calls of the application `app`, as if they had come over HTTP from the sender's address.

    The addresses in `proxies` are believed when they say for whom they call.
    """

    def __init__(self, app: ASGIApp, proxies: list[str] | str) -> None:
        self._app: Any = ProxyHeadersMiddleware(app, proxies)  # type: ignore[arg-type]  # types of its own

    async def call(self, method: str, path: str, body: dict[str, Any] | None, sender: Sender) -> httpx2.Response:
        """Return the whole answer.

        Raises:
            TimeoutError: there was none in time.
        """
        headers = {"Accept": "application/json"}
        if sender.authorization is not None:
            headers["Authorization"] = sender.authorization
        if sender.request_id is not None:
            headers["X-Request-ID"] = sender.request_id
        if sender.forwarded is not None:
            headers["X-Forwarded-For"] = sender.forwarded
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = httpx2.Request(method, _BASE + path, headers=headers, content=content)
        transport = httpx2.ASGITransport(self._app, client=(sender.address, 0))
        async with asyncio.timeout(MOST_SECONDS):
            answer = await transport.handle_async_request(request)
            await answer.aread()
        return answer
