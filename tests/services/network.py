"""A network without sockets: requests to agents go to a transport of httpx2, and its responses come back."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from types import MappingProxyType

import httpx2

from app.services.tasks.breaks import NOT_HTTP, UNREACHABLE, Broken
from app.services.tasks.requests import Request, address_of
from app.services.tasks.responses import Proof, Response


class Network:
    """A `Transport` over a transport of httpx2: one that calls an application, or a function."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    async def exchange(self, request: Request, proof: Proof | None = None) -> Response:
        del proof  # there are no connections
        url = httpx2.URL(
            f"{address_of(request.url).scheme}://{httpx2.URL(request.url).netloc.decode()}{request.target}"
        )
        sent = httpx2.Request(request.method, url, headers=request.headers, content=request.body)  # type: ignore[arg-type]  # pieces may be views
        with as_breaks():
            given = await self._transport.handle_async_request(sent)
        given.request = sent
        return response_of(given)

    async def close(self) -> None:
        await self._transport.aclose()


def response_of(given: httpx2.Response) -> Response:
    """Return a response of httpx2 as one of ours."""
    headers = {name.lower(): value for name, value in given.headers.items()}
    return Response(given.status_code, headers, _body(given), given.aclose)


def answered(status: int, content: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """Return a response with a body."""
    return response_of(httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(content)))


@contextlib.contextmanager
def as_breaks() -> Iterator[None]:
    """Turn errors of httpx2 into those of our transport."""
    try:
        yield
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise ValueError(str(error)) from error
    except httpx2.ConnectError as error:
        raise Broken(UNREACHABLE) from error
    except httpx2.TimeoutException as error:
        raise TimeoutError from error
    except httpx2.RemoteProtocolError as error:
        raise Broken(NOT_HTTP) from error


async def _body(given: httpx2.Response) -> AsyncIterator[memoryview]:
    with as_breaks():
        async for piece in given.aiter_raw():
            yield memoryview(piece)
