"""The part of ASGI that an agent needs: a request whose body is read in pieces, and a response in one piece."""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from tcsfeel.wire.digests import CONTENT_DIGEST

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Disconnected(Exception):
    """The caller disconnected before its request was complete."""


class Request:
    """An HTTP request as the server describes it. Nothing is parsed before it is needed."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self._receive = receive

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    def header(self, name: str) -> str:
        """Return the first header with this name in lower case, or an empty text if there is none."""
        wanted = name.encode("latin-1")
        found = (value for key, value in self.scope["headers"] if key.lower() == wanted)
        return str(next(found, b""), "latin-1")

    @property
    def authorization(self) -> tuple[str, str]:
        """Return the scheme of the authorization in lower case, and the credentials. Both are empty without one."""
        scheme, _, given = self.header("authorization").partition(" ")
        return scheme.lower(), given.strip()

    def parameter(self, name: str, default: str) -> str:
        """Return the last value of this name in the query string, or `default` if there is none."""
        return ([default, *self.parameters(name)])[-1]

    def parameters(self, name: str) -> list[str]:
        """Return all values of this name in the query string."""
        pairs = parse_qsl(str(self.scope.get("query_string", b""), "latin-1"), keep_blank_values=True)
        return [value for key, value in pairs if key == name]

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the body as they arrive. Raises `Disconnected`."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            if piece := message.get("body", b""):
                yield piece
            more = message.get("more_body", False)


def route_path(scope: Scope) -> str:
    """Return the path below the mount point."""
    if scope["type"] != "http":
        raise RuntimeError(f"an agent speaks HTTP, not {scope['type']}")
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class Response:
    """A response in one piece, which can be sent any number of times.

    `digest` is the value of its ``Content-Digest``; without one, no digest is sent.
    """

    def __init__(
        self,
        status: HTTPStatus,
        body: bytes = b"",
        media_type: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        digest: str = "",
    ) -> None:
        described = dict(headers or {})
        if media_type:
            described["content-type"] = media_type
        if digest:
            described[CONTENT_DIGEST] = digest
        if status != HTTPStatus.NO_CONTENT:  # whose answer must not name a length
            described["content-length"] = str(len(body))
        self.status, self.digest = int(status), digest
        self._headers, self._body = encoded(described), body

    def with_headers(self, added: Mapping[str, str]) -> "Response":
        """Return the same response with more headers."""
        response = copy.copy(self)
        response._headers = [*self._headers, *encoded(added)]  # noqa: SLF001  (of this class)
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": self.status, "headers": self._headers.copy()})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Write headers as ASGI wants them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
