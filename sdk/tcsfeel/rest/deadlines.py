"""A network for the blocking client on which a whole exchange has a time limit.

The time limits of httpx2 are for a single step. A server that sends or receives a byte now and then would hold a call
for ever. Here each step gets only the time that is left for the exchange of the calling thread.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpcore2
import httpx2

from tcsfeel.certificates import trusted

STEP_BYTES = 16_384  # that are sent between two looks at the clock
KEEP_SECONDS = 4.0  # less than the server's own 5 s, or a call could meet a connection that is being closed

_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


def limits(connections: int = 100) -> httpx2.Limits:
    """Return how many connections a client may have, and how long it keeps those that it does not use."""
    return httpx2.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEP_SECONDS
    )


class Deadline(threading.local):
    """The time at which the current thread's exchange ends, on the clock `time.monotonic`. `None` is never."""

    at: float | None = None

    def least(self, timeout: float | None, late: Exception) -> float | None:
        """Return the time that a step may take. Raises `late` if none is left."""
        if self.at is None:
            return timeout
        left = self.at - time.monotonic()
        if left <= 0:
            raise late
        return left if timeout is None else min(left, timeout)


class _Stream(httpcore2.NetworkStream):
    """A connection whose reads and writes end at the deadline."""

    def __init__(self, inner: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        late = httpcore2.ReadTimeout("the answer took too long to arrive")
        return self._inner.read(max_bytes, self._deadline.least(timeout, late))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send the bytes in small steps. The time limit is for one step, and the deadline for all of them."""
        late = httpcore2.WriteTimeout("the server took too long to receive the request")
        for begin in range(0, len(buffer), STEP_BYTES):
            self._inner.write(buffer[begin : begin + STEP_BYTES], self._deadline.least(timeout, late))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore2.NetworkBackend):
    """Opens the connections."""

    def __init__(self, deadline: Deadline) -> None:
        self._inner = httpcore2.SyncBackend()
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> _Stream:
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options), self._deadline)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Body(httpx2.SyncByteStream):
    """The body of an answer."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx2():
            yield from self._inner

    def close(self) -> None:
        self._inner.close()


class DeadlineTransport(httpx2.BaseTransport):
    """Sends requests over connections whose reads and writes end at `deadline`.

    With a `ca_file`, only servers that its authorities have certified are trusted.
    """

    def __init__(self, deadline: Deadline, ca_file: Path | None = None) -> None:
        kept = limits()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context(trusted(ca_file), trust_env=False),
            max_connections=kept.max_connections,
            max_keepalive_connections=kept.max_keepalive_connections,
            keepalive_expiry=kept.keepalive_expiry,
            network_backend=_Network(deadline),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        with _as_httpx2():
            answer = self._pool.handle_request(
                httpcore2.Request(
                    request.method,
                    httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        self._pool.close()


@contextmanager
def _as_httpx2() -> Iterator[None]:
    """Turn the errors of httpcore2 into those of httpx2, which have the same names."""
    try:
        yield
    except _ERRORS as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error
