"""Drive calls over httpx2, blocking or in an event loop.

The size of an answer is checked while it is read. No content encoding is accepted, so that the bytes that are counted
are those that were transferred. The message of a connection error has its reason but never the headers, since they
contain the key.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar

import httpx2

from tcsfeel.rest.collected import IDENTITY, Collected, encoding_of
from tcsfeel.rest.deadlines import Deadline
from tcsfeel.rest.exchange import (
    MAX_ANSWER_BYTES,
    Actions,
    Answer,
    Attempt,
    Head,
    Patience,
    Pause,
    Steps,
    Work,
    with_repeats,
)
from tcsfeel.rest.problems import ApiError, NoAnswer, UnexpectedAnswer
from tcsfeel.text import plain

Result = TypeVar("Result")

STEP = 0.95  # of an attempt's time that a step of it may take, so that an attempt to connect is told as such
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


def base_url(server: str) -> httpx2.URL:
    """Check the URL of a control plane. Raises `ValueError`."""
    try:
        url = httpx2.URL(server)
    except httpx2.InvalidURL as error:
        raise ValueError(f"the server's URL {plain(server)!r} cannot be read: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"the server's URL should be like http://127.0.0.1:8080, not {plain(server)!r}")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("the server's URL should have no credentials, query or fragment")
    return url


def shown(url: httpx2.URL) -> str:
    """Return the address of a server for people to read, without user name and password."""
    return plain(f"{url.scheme}://{url.netloc.decode()}{url.path.rstrip('/')}")


def headers(key: str | None) -> dict[str, str]:
    """Make the headers of every request. Raises `ValueError` if a header cannot contain the key."""
    given = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if key is None:
        return given
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the key should be visible ASCII characters, without spaces or line breaks")
    return given | {"Authorization": f"Bearer {key}"}


def no_cookies() -> CookieJar:
    """Make a jar that keeps no cookie: the API has none, and a server could make each request longer with them."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class Transport:
    """What both transports share: the server's address, and how long and large an exchange may be."""

    def __init__(self, server: httpx2.URL, patience: Patience, max_answer_bytes: int) -> None:
        self.server = shown(server)
        self.patience = patience
        self.max_answer_bytes = max_answer_bytes
        self._process = os.getpid()

    def check_process(self) -> None:
        """Refuse to work after a fork: two processes on one connection would read each other's answers."""
        if os.getpid() != self._process:
            raise RuntimeError("this client was made before the process forked: make a new client after the fork")

    def collected(self, response: httpx2.Response, attempt: Attempt, give_up_at: float | None = None) -> Collected:
        """Begin to receive an answer, which has to be complete at `give_up_at` on the clock `time.monotonic`.

        Raises `UnexpectedAnswer` if it is a success that is encoded, since its size could not be limited.
        """
        head = Head(response.status_code, response.headers)
        if head.is_success and (encoding := encoding_of(head)) != IDENTITY:
            raise UnexpectedAnswer(f"the answer is encoded as {plain(encoding, 40)}, which the request did not accept")
        return Collected(head, attempt, self.max_answer_bytes, give_up_at)

    @contextmanager
    def _naming_the_server(self) -> Iterator[None]:
        """Turn httpx2's errors into those of this package."""
        try:
            yield
        except NEVER_SENT as error:
            raise NoAnswer(f"{self.server} does not answer: {_reason(error)}", sent=False) from error
        except httpx2.HTTPError as error:
            raise NoAnswer(f"the connection to {self.server} failed: {_reason(error)}") from error


class BlockingTransport(Transport):
    """Drives calls in the calling thread."""

    def __init__(
        self,
        http: httpx2.Client,
        patience: Patience | None = None,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        sleep: Callable[[float], object] = time.sleep,
        deadline: Deadline | None = None,
    ) -> None:
        super().__init__(http.base_url, patience or Patience(), max_answer_bytes)
        self.http = http
        self._sleep = sleep
        self._deadline = deadline or Deadline()

    def run(self, steps: Steps[Result]) -> Result:
        """Drive a call to its end."""
        actions = with_repeats(steps, self.patience)
        try:
            action = next(actions)
            while True:
                action = _resume(actions, *self._outcome(action))
        except StopIteration as end:
            value: Result = end.value
            return value
        finally:
            actions.close()

    def _outcome(self, action: Attempt | Pause | Work) -> tuple[Any, ApiError | None]:
        try:
            return self._do(action), None
        except ApiError as error:
            return None, error

    def _do(self, action: Attempt | Pause | Work) -> Any:
        if isinstance(action, Work):
            return action.function()
        if isinstance(action, Pause):
            if action.seconds > 0:
                self._sleep(action.seconds)
            return time.monotonic()
        return self._send(action)

    def _send(self, attempt: Attempt) -> Answer:
        self.check_process()
        self._deadline.at = time.monotonic() + attempt.seconds
        try:
            return self._received(attempt)
        finally:
            self._deadline.at = None

    def _received(self, attempt: Attempt) -> Answer:
        """Send a request and receive its answer. The deadline moves with each piece of the request's body."""
        request = attempt.request
        with (
            self._naming_the_server(),
            self.http.stream(
                request.method,
                request.path,
                params=list(request.params) or None,
                headers=request.headers,
                content=None if request.body is None else self._pieces(request.body(), attempt.seconds),
                timeout=attempt.seconds,
            ) as response,
        ):
            if request.receiver is not None:  # a model may take longer, as long as bytes arrive
                self._deadline.at = None
            collected = self.collected(response, attempt, self._deadline.at)
            pieces = response.iter_bytes()
            while not collected.is_complete and (piece := next(pieces, None)) is not None:
                collected.take(piece)
            return collected.answer()

    def _pieces(self, body: Iterable[bytes], seconds: float) -> Iterator[bytes]:
        for piece in body:
            self._deadline.at = time.monotonic() + seconds
            yield piece


class AsyncTransport(Transport):
    """Drives calls in an event loop."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        patience: Patience | None = None,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        super().__init__(http.base_url, patience or Patience(), max_answer_bytes)
        self.http = http
        self._sleep = sleep
        self._loop: asyncio.AbstractEventLoop | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        self.check_loop()
        await self.http.aclose()

    def check_loop(self) -> None:
        """Refuse to work in a second event loop, since the connections belong to the first one."""
        running = asyncio.get_running_loop()
        if self._loop not in {None, running}:
            raise RuntimeError("this client was used in another event loop: make a new client in each event loop")
        self._loop = running

    async def run(self, steps: Steps[Result]) -> Result:
        """Drive a call to its end."""
        actions = with_repeats(steps, self.patience)
        try:
            action = next(actions)
            while True:
                action = _resume(actions, *await self._outcome(action))
        except StopIteration as end:
            value: Result = end.value
            return value
        finally:
            actions.close()

    async def _outcome(self, action: Attempt | Pause | Work) -> tuple[Any, ApiError | None]:
        try:
            return await self._do(action), None
        except ApiError as error:
            return None, error

    async def _do(self, action: Attempt | Pause | Work) -> Any:
        if isinstance(action, Work):
            return await asyncio.to_thread(action.function)
        if isinstance(action, Pause):
            if action.seconds > 0:
                await self._sleep(action.seconds)
            return time.monotonic()
        return await self._send(action)

    async def _send(self, attempt: Attempt) -> Answer:
        self.check_process()
        self.check_loop()
        limit = asyncio.timeout(attempt.seconds)
        try:
            async with limit:
                return await self._received(attempt, limit)
        except TimeoutError as error:
            if not limit.expired():  # from a file, for example
                raise
            raise NoAnswer(f"the answer of {self.server} did not arrive within {attempt.seconds:g} s") from error

    async def _received(self, attempt: Attempt, limit: asyncio.Timeout) -> Answer:
        """Send a request and receive its answer. The limit begins again with each piece of the request's body."""
        request = attempt.request
        with self._naming_the_server():
            async with self.http.stream(
                request.method,
                request.path,
                params=list(request.params) or None,
                headers=request.headers,
                content=None if request.body is None else _pieces(iter(request.body()), limit, attempt.seconds),
                timeout=STEP * attempt.seconds,
            ) as response:
                collected = self.collected(response, attempt)
                if request.receiver is not None:  # a model may take longer, as long as bytes arrive
                    limit.reschedule(None)
                pieces = response.aiter_bytes()
                while not collected.is_complete and (piece := await anext(pieces, None)) is not None:
                    collected.take(piece)
                return collected.answer()


async def _pieces(body: Iterator[bytes], limit: asyncio.Timeout, seconds: float) -> AsyncIterator[bytes]:
    """Read each piece in a thread, since it may come from a file."""
    while (piece := await asyncio.to_thread(next, body, None)) is not None:
        limit.reschedule(asyncio.get_running_loop().time() + seconds)
        yield piece


def _resume(actions: Actions[Any], result: Any, error: ApiError | None) -> Attempt | Pause | Work:
    return actions.send(result) if error is None else actions.throw(error)


def _reason(error: httpx2.HTTPError) -> str:
    return plain(f"{type(error).__name__}: {error}".removesuffix(": "))


def json_body(data: bytes) -> tuple[Callable[[], Iterator[bytes]], Mapping[str, str]]:
    """Make a JSON body of the bytes, and its headers."""
    return lambda: iter([data]), {"Content-Type": "application/json", "Content-Length": str(len(data))}
