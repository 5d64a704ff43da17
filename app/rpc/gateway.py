"""Call the REST API inside this process, for a caller that came by another protocol."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx2
from starlette.types import ASGIApp

MOST_SECONDS = 120.0  # for one call; the server's own limits are shorter
_BASE = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a call: the text in its ``authorization``, its address, and the id that it gave the call, if any."""

    authorization: str | None
    address: str
    request_id: str | None = None


class Gateway:
    """Calls of the application `app`, as if they had come over HTTP from the sender's address."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = httpx2.Request(method, _BASE + path, headers=headers, content=content)
        transport = httpx2.ASGITransport(self._app, client=(sender.address, 0))
        async with asyncio.timeout(MOST_SECONDS):
            answer = await transport.handle_async_request(request)
            await answer.aread()
        return answer
