"""Run the application for one usual request, and write its answer without h11.

The rules are those of `tcsfeel.inbound.connection` for every request: a body and the caller's reading have deadlines, a
refusal waits until the address may be refused, an answer that is complete before its request closes the connection, and
no line of an answer contains the end of another.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tcsfeel.inbound.connection import CLOSE, NO_PAGE, PIECE_BYTES, RETRY_SECONDS
from tcsfeel.inbound.pace import Pace

if TYPE_CHECKING:
    from app.http.connections import QuickConnection

Message = Any
Header = tuple[bytes, bytes]

log = logging.getLogger("uvicorn.error")

WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_GONE = {"type": "http.disconnect"}
ARRIVED = "tcsfeel.arrived"
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00\r\n]*\r\n)*")
_LINES = {int(status): f"HTTP/1.1 {status} {status.phrase}\r\n".encode() for status in HTTPStatus}


def has_arrived(scope: Mapping[str, Any]) -> bool:
    """Tell whether the whole body was there before the application was called, so that nothing waits for it."""
    return bool(scope.get("extensions", {}).get(ARRIVED, False))


class Exchange:
    """One request and its answer. It has what uvicorn's protocol looks at of its own `RequestResponseCycle`.

    Attributes:
        later: bytes that came after the request, for the next one.
        disconnected: whether the caller is gone, or is refused by the connection.
        response_started: whether the application has begun to answer.
        keep_alive: whether the connection stays open after the answer.
    """

    def __init__(self, connection: "QuickConnection", scope: dict[str, Any], length: int) -> None:
        self.message_event = asyncio.Event()
        self.later = b""
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.keep_alive = True
        self._connection = connection
        self._scope = scope
        self._length = length
        self._body = b""
        self._told = False
        self._refusal: list[Message] = []
        self._start = b""  # of the answer, until there is some of its body to send it with
        self._left: int | None = None  # bytes of the answer's body; None if they come in chunks

    @property
    def unread(self) -> bool:
        """Tell whether some of the body has not arrived yet."""
        return len(self._body) < self._length

    def feed(self, data: bytes) -> None:
        """Take bytes that have arrived: the body's, and those after it."""
        missing = self._length - len(self._body)
        if missing:
            self._body += data[:missing]
            data = data[missing:]
            self.message_event.set()
        self.later += data

    async def run(self, application: Any) -> None:
        """Run the application, and answer in its place if it does not."""
        try:
            await application(self._scope, self.receive, self.send)
            await self._refuse_in_turn()
        except asyncio.CancelledError:  # the server stops
            await self._end_without(HTTPStatus.SERVICE_UNAVAILABLE)
        except BaseException as error:
            log.exception("Exception in ASGI application\n", exc_info=error)
            await self._end_without(HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            if not self.response_complete and not self.disconnected:
                log.error("ASGI callable returned without completing response.")
                await self._end_without(HTTPStatus.INTERNAL_SERVER_ERROR)

    async def receive(self) -> Message:
        """Give the application the body, as soon as it is there as a whole, and then the end of the connection."""
        if self.unread:
            await self._arrival()
        elif self._told and not self.disconnected and not self.response_complete:
            self.message_event.clear()
            await self.message_event.wait()
        if self.disconnected or self.response_complete or self._told or self.unread:
            return _GONE
        self._told = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Take a part of the answer. The parts of a refusal are kept until the application has ended."""
        if self._refusal or (not self.response_started and self._connection.is_refusal(message)):
            self._refusal.append(message)
        else:
            await self._write(message)

    async def _arrival(self) -> None:
        """Wait for the rest of the body, at the pace that the connection asks for."""
        connection, bounds = self._connection, self._connection.server_state.bounds
        pace, time = Pace(bounds.grace_seconds, bounds.body_rate), connection.loop.time
        while self.unread and not self.disconnected and not self.response_complete:
            began, size = time(), len(self._body)
            self.message_event.clear()
            try:
                async with asyncio.timeout(pace.left):
                    await self.message_event.wait()
            except TimeoutError:
                connection.refuse_slow_body(pace)
                return
            pace.spend(time() - began, len(self._body) - size)

    async def _refuse_in_turn(self) -> None:
        """Send a refusal when the address may be refused."""
        if not self._refusal:
            return
        if not await self._connection.server_state.refusals.wait(self._connection.address):
            self.disconnected = True
            self._connection.evict()
        for message in self._refusal:
            await self._write(message)

    async def _end_without(self, status: HTTPStatus) -> None:
        """Answer in place of the application, or hang up if it has begun to answer."""
        if self.response_started:
            self._connection.transport.close()
            return
        retry = [(b"retry-after", str(RETRY_SECONDS).encode())] if status == HTTPStatus.SERVICE_UNAVAILABLE else []
        headers = [(b"content-length", b"0"), *retry, *NO_PAGE, CLOSE]
        await self._write({"type": "http.response.start", "status": int(status), "headers": headers})
        await self._write({"type": "http.response.body", "body": b""})

    async def _write(self, message: Message) -> None:
        flow = self._connection.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        kind = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != kind or self.response_complete:
            raise RuntimeError(f"the application sent {message['type']!r} in place of {kind!r}")
        if self.response_started:
            await self._write_body(message)
        else:
            self._begin(int(message["status"]), list(message.get("headers", ())))

    def _begin(self, status: int, headers: list[Header]) -> None:
        """Make the head of the answer. It is sent with the first piece of a body whose length is known."""
        self.response_started = True
        headers = [*self._connection.server_state.default_headers, *headers]
        if self.unread and CLOSE not in headers:
            headers.append(CLOSE)
        if CLOSE in headers:
            self.keep_alive = False
        length = next((value for name, value in headers if name == b"content-length"), None)
        if status in WITHOUT_BODY:
            self._left = 0
        elif length is not None:
            self._left = int(length)
        else:
            headers.append((b"transfer-encoding", b"chunked"))
        fields = b"".join([b"%b: %b\r\n" % header for header in headers])
        if _FIELDS.fullmatch(fields) is None or fields.count(b"\r\n") != len(headers):
            raise ValueError("a header of the answer has a name or a value that no header may have")
        self._start = _LINES[status] + fields + b"\r\n"
        if self._left is None:
            self._flush()

    def _flush(self, body: bytes = b"") -> None:
        start, self._start = self._start, b""
        if start or body:
            self._connection.transport.write(start + body)

    async def _write_body(self, message: Message) -> None:
        body, more = memoryview(message.get("body", b"")), message.get("more_body", False)
        while len(body) > PIECE_BYTES:
            self._write_piece(body[:PIECE_BYTES])
            body = body[PIECE_BYTES:]
            await asyncio.sleep(0)  # a kernel that takes each piece at once would hold the loop
            if self._connection.flow.write_paused and not self.disconnected:
                await self._connection.flow.drain()
            if self.disconnected:
                return
        self._write_piece(body)
        if not more:
            self._complete()

    def _write_piece(self, piece: memoryview) -> None:
        if self._left is None:
            if piece:
                self._connection.transport.write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
            return
        if len(piece) > self._left:
            raise RuntimeError("the application sent more than the content-length of its answer")
        self._left -= len(piece)
        self._flush(bytes(piece))

    def _complete(self) -> None:
        if self._left is None:
            self._connection.transport.write(b"0\r\n\r\n")
        elif self._left:
            raise RuntimeError(f"the application sent {self._left} bytes less than the content-length of its answer")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()
