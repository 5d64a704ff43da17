"""As much of ASGI as an agent needs: a request whose body is read in pieces, and an answer that is sent as a whole."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Disconnected(Exception):
    """The caller went away before its request had come to its end."""


class Request:
    """An HTTP request as its server describes it. Nothing is parsed before it is asked for."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self._receive = receive

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    def header(self, name: str) -> str:
        """Give the first header of this name, which is in lower case; an empty text where there is none."""
        wanted = name.encode("latin-1")
        found = (value for key, value in self.scope["headers"] if key.lower() == wanted)
        return str(next(found, b""), "latin-1")

    def parameter(self, name: str, default: str) -> str:
        """Give the last value that the query string has for this name, or `default` where it has none."""
        pairs = parse_qsl(str(self.scope.get("query_string", b""), "latin-1"), keep_blank_values=True)
        return dict(pairs).get(name, default)

    async def body(self) -> AsyncIterator[bytes]:
        """Give the body piece by piece, as it arrives. Raises `Disconnected`."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            if piece := message.get("body", b""):
                yield piece
            more = message.get("more_body", False)


class Response:
    """An answer of one piece, which can be sent any number of times."""

    def __init__(
        self, status: HTTPStatus, body: bytes = b"", media_type: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        described = dict(headers or {})
        if media_type:
            described["content-type"] = media_type
        if status != HTTPStatus.NO_CONTENT:  # whose answer must not name a length
            described["content-length"] = str(len(body))
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in described.items()]
        self._status, self._headers, self._body = int(status), encoded, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers.copy()})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
