"""Define the requests that are sent to agents, and read the URLs of agents."""

import re
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import httpx2

_HOST = re.compile(rb"[0-9A-Za-z._:%-]+")
_SENDABLE = re.compile(r"[\t\x20-\x7e]*")  # a header's value, or a line, that cannot end early
_PORTS = {"http": 80, "https": 443}
_KNOWN_URLS = 10_000
LONG_BYTES = 1 << 20
"""The size of a body from which on it is not sent again as a whole without asking what has arrived."""


class Address(NamedTuple):
    """What an agent's URL says: where connections lead, the value of ``Host``, and the path before that of a call."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


@lru_cache(_KNOWN_URLS)
def address_of(url: str) -> Address:
    """Read the base URL of an agent. Raises ValueError if it cannot be called."""
    try:
        read = httpx2.URL(url.rstrip("/") + "/")
    except httpx2.InvalidURL as error:
        raise ValueError("the URL cannot be read") from error
    if read.scheme not in _PORTS or not _HOST.fullmatch(read.raw_host):
        raise ValueError("an agent has an http or https URL with a host")
    return Address(
        scheme=read.scheme,
        host=read.raw_host.decode("ascii"),
        port=read.port or _PORTS[read.scheme],
        authority=read.netloc.decode("ascii"),
        path=read.raw_path.decode("ascii").removesuffix("/"),
    )


@dataclass(slots=True)
class Request:
    """A request to an agent.

    Attributes:
        url: the URL that the client registered.
        path: the path of the call below it, and the query, percent-encoded.
        headers: all headers but ``Host``. One with a `body` has its ``Content-Length``.
        body: the pieces of the body. They are asked for again if the request is sent again.
    """

    method: str
    url: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: AsyncIterable[bytes | memoryview] | None = None

    @property
    def target(self) -> str:
        """The path and the query as they are sent. Raises ValueError if the URL cannot be called."""
        return address_of(self.url).path + self.path

    @property
    def is_long(self) -> bool:
        """Tell whether the body is so long that a part of it may have arrived when the connection is lost."""
        return int(self.headers.get("Content-Length", 0)) >= LONG_BYTES

    def head(self) -> bytes:
        """Return the bytes of the request before its body.

        Raises ValueError if the URL cannot be called, or if a header would not arrive as one header.
        """
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {address_of(self.url).authority}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if not all(map(_SENDABLE.fullmatch, lines)):
            raise ValueError("a line of a request's head has characters that cannot be sent")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
