"""HTTP/1.1 with an agent: one request and its answer at a time on one connection, bounded in bytes, steps and time.

h11 parses what comes in (ADR 0011). It is given a piece at a time, as one is asked for, so that an agent can fill no
more than `_HELD_BYTES` of memory and make no more than a piece's work at once. What an answer may be:

- at most `_INFORMATIONAL` interim answers (1xx) before it, a head of `_HEAD_BYTES`, and everything in HTTP/1.0 or 1.1;
- a body whose pieces are, after the first `_CRUMBS`, `_LEAST_PIECE` bytes long on average: each costs the same work.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import h11
import httpx2

from app.services.tasks.patience import Patience, TooSlow

_HEAD_BYTES = 1 << 15
_HEAD_PIECE = 1 << 12  # bytes that are parsed at once while a head is awaited
_HELD_BYTES = 1 << 18  # that have arrived and were not asked for; one more read of the system may come on top
_WRITTEN_BYTES = 1 << 16  # that the system has not taken yet, before more is written
_REST_BYTES = 1 << 16  # of a body nobody wants that is read so that its connection can be used again
_INFORMATIONAL = 8
_CRUMBS = 500
_LEAST_PIECE = 16
_REFUSING = 300  # and beyond: an agent that answers so has no use for the rest of a task

_START = b"HTTP/1."
_CUT = "the agent closed the connection in the middle of its answer"
_NOT_HTTP = "the agent did not answer in HTTP"


class Broken(httpx2.TransportError):
    """An exchange that came to nothing, at the agent's end; its message is the reason."""


class Wire(asyncio.Protocol):
    """The bytes of a connection: what has arrived and was not asked for, and whether there is room for more to send."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._arrived: deque[bytes] = deque()
        self._held = 0
        self._ended = self._lost = self._full = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for."""
        return not (self._arrived or self._ended or self._lost)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (what asyncio makes for a socket)
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITTEN_BYTES)

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._held += len(data)
        if self._held > _HELD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        self._ended = True
        _wake(self._reader)

    def connection_lost(self, _error: Exception | None) -> None:
        self._ended = self._lost = True
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        _wake(self._writer)

    async def news(self) -> None:
        """Wait until something has arrived, or nothing more will."""
        while not self._arrived and not self._ended:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader

    def take(self, most: int) -> bytes:
        """Give bytes that have arrived, `most` at most."""
        if not self._arrived:
            return b""
        piece = self._arrived.popleft()
        if len(piece) > most:
            self._arrived.appendleft(piece[most:])
            piece = piece[:most]
        self._held -= len(piece)
        if self._held <= _HELD_BYTES // 2 and self._transport is not None:
            self._transport.resume_reading()
        return piece

    async def send(self, data: bytes | memoryview, patience: Patience) -> None:
        """Write, and wait until there is room for more. Raises `TooSlow`, `ConnectionError`."""
        transport = self._transport
        if transport is None or self._lost:
            raise ConnectionResetError
        left = len(data)
        transport.write(data)
        while self._full and not self._lost:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                async with patience.waiting():
                    await self._writer
            except TooSlow:
                pass  # unless some of it has moved meanwhile
            before, left = left, transport.get_write_buffer_size()
            patience.earn(before - left)
            if patience.is_over:
                raise TooSlow("the agent did not read the request in time")

    def close(self) -> None:
        """Hang up, whatever there is still to be sent."""
        if self._transport is not None:
            self._transport.abort()


class Exchange:
    """A connection that asks, and reads what is answered; one exchange after the other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._sender: asyncio.Task[None] | None = None
        self.used = False  # whether it has answered before: then the agent may be hanging up just now
        self.proved: set[str] = set()  # the keys of devices that have signed an answer over it

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent."""
        return self._http.our_state is h11.IDLE and self._wire.is_quiet

    async def ask(self, request: httpx2.Request, sending: Patience, answering: Patience) -> h11.Response:
        """Send a request, and give the head of the answer. Raises `Broken`, `ConnectionError`, `TooSlow`."""
        host = [(b"Host", request.url.netloc)]
        others = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
        start = h11.Request(method=request.method, target=request.url.raw_path, headers=host + others)
        await self._wire.send(self._http.send(start) or b"", sending)
        if "Content-Length" not in request.headers:
            self._http.send(h11.EndOfMessage())
            async with answering.waiting():
                return await self._head()
        assert isinstance(request.stream, httpx2.AsyncByteStream)  # noqa: S101  (what an asynchronous call sends)
        self._sender = asyncio.create_task(self._send(request.stream, sending))
        return await self._while_sending(self._sender, answering)

    async def body(self, patience: Patience) -> AsyncIterator[bytes]:
        """Give the body in the pieces in which it came. Raises `Broken`, `TooSlow`."""
        pieces = size = 0
        cut = False
        while True:
            try:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    if self._wire.is_quiet:
                        async with patience.waiting():
                            await self._wire.news()
                    piece = self._wire.take(_HELD_BYTES)
                    cut = not piece
                    self._http.receive_data(piece)
                    continue
            except h11.RemoteProtocolError as error:
                raise Broken(_CUT if cut else _NOT_HTTP) from error
            if not isinstance(event, h11.Data):
                return
            pieces, size = pieces + 1, size + len(event.data)
            if pieces > _CRUMBS and size < pieces * _LEAST_PIECE:
                raise Broken(f"the agent sent its body in pieces of less than {_LEAST_PIECE} bytes")
            patience.earn(len(event.data))
            yield event.data

    async def abandon(self) -> None:
        """End the exchange and the connection, which is closed at once: the caller may be cancelled once more."""
        self.close()
        await self._stop_sending()

    async def finish(self) -> bool:
        """End the exchange. Tells whether the connection can be used for another one; else it is closed."""
        try:
            await self._stop_sending()
        except BaseException:  # the caller is cancelled once more
            self.close()
            raise
        try:
            whole = self._rest()
        except h11.RemoteProtocolError:
            whole = False
        if whole and self._http.our_state is h11.DONE and self._wire.is_quiet and not self._http.trailing_data[0]:
            self._http.start_next_cycle()
            self.used = True
            return True
        self.close()
        return False

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    async def _stop_sending(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
            self._sender = None

    async def _send(self, body: httpx2.AsyncByteStream, patience: Patience) -> None:
        async for piece in body:
            for data in self._http.send_with_data_passthrough(h11.Data(data=piece)) or ():
                await self._wire.send(data, patience)
        self._http.send(h11.EndOfMessage())

    async def _while_sending(self, sender: asyncio.Task[None], answering: Patience) -> h11.Response:
        """The head of an answer, which may come before all is sent: an agent that refuses is not sent the rest."""
        head = asyncio.create_task(self._head())
        try:
            await asyncio.wait({sender, head}, return_when=asyncio.FIRST_COMPLETED)
            if not head.done() and not isinstance(sender.exception(), ConnectionError):  # else it may still say why
                sender.result()
            if not head.done():
                async with answering.waiting():
                    await asyncio.wait({head})
            response = head.result()
            if response.status_code < _REFUSING:
                await sender
            return response
        finally:
            head.cancel()
            await asyncio.gather(head, return_exceptions=True)

    async def _head(self) -> h11.Response:
        informational = 0
        start = b""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise Broken(_NOT_HTTP) from error
            if event is h11.NEED_DATA:
                await self._wire.news()
                piece = self._wire.take(_HEAD_PIECE)
                start = start or piece[: len(_START)]
                if not start:
                    raise ConnectionResetError
                if start != _START[: len(start)]:
                    raise Broken(_NOT_HTTP)
                if not piece:
                    raise Broken(_CUT)
                self._http.receive_data(piece)
                continue
            if isinstance(event, h11.Response):
                return event
            informational += 1
            if informational > _INFORMATIONAL:
                raise Broken(f"the agent sent more than {_INFORMATIONAL} interim answers (1xx)")

    def _rest(self) -> bool:
        """Take what has arrived of a body that nobody wants. Whether that was all of it."""
        left = _REST_BYTES
        while left > 0 and self._http.their_state is h11.SEND_BODY:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if not (piece := self._wire.take(left)):
                    break
                left -= len(piece)
                self._http.receive_data(piece)
        return self._http.their_state is h11.DONE


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
